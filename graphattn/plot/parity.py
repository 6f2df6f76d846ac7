"""Predictions beside what they should be."""

from typing import Any

import torch
from torch import Tensor

from graphattn.plot.figures import new_figure


def parity(
    predicted: Tensor,
    target: Tensor,
    unit: str,
    *,
    quantity: str = "",
    figure: Any | None = None,
) -> Any:
    """Draws predictions over targets, with the line on which both are equal.

    Their mean absolute error stands above, with its unit and how many there are.

    Args:
        predicted: ``(S,)`` or ``(S, 1)``.
        target: Likewise, in the same order.
        unit: Of both, such as ``"eV/atom"``; ``"1"`` for plain numbers.
        quantity: What they are, such as ``"formation energy"``: part of the labels of both axes.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given), 4.4 by 4.4 inches if new.

    Raises:
        ValueError: If a shape does not fit, there is nothing to draw, or a number is not finite.
        ImportError: If matplotlib is not installed.
    """
    rows = {"predicted": predicted, "target": target}
    for name, given in rows.items():
        if given.ndim not in (1, 2) or given.shape != (len(given), 1)[: given.ndim]:
            raise ValueError(f"{name} must be (S,) or (S, 1), got {tuple(given.shape)}")
        if not bool(given.isfinite().all()):
            raise ValueError(f"{name} must be finite, got a number that is not")
    if len(predicted) != len(target) or len(target) == 0:
        raise ValueError(
            "predicted and target must be of the same crystals, at least one, got "
            f"{len(predicted)} and {len(target)}"
        )
    ours, theirs = (given.detach().double().cpu().flatten() for given in rows.values())
    told = "" if unit == "1" else f" {unit}"
    figure = new_figure(4.4, 4.4) if figure is None else figure
    axes = figure.add_subplot()
    both = torch.cat([ours, theirs])
    margin = 0.03 * (both.max() - both.min()).clamp(min=1e-9 + 0.1 * float(both.abs().max()))
    limits = (float(both.min() - margin), float(both.max() + margin))
    axes.plot(limits, limits, color="0.5", linewidth=1.0, linestyle="--")
    size = 14 if len(ours) < 1000 else 4
    axes.scatter(theirs.tolist(), ours.tolist(), s=size, alpha=0.5, linewidths=0)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    for what, setter in (("target", axes.set_xlabel), ("predicted", axes.set_ylabel)):
        label = " ".join(word for word in (what, quantity) if word)
        setter(f"{label} ({unit})" if told else label)
    error = float((ours - theirs).abs().mean())
    axes.set_title(f"MAE {error:.3g}{told}, n = {len(ours)}", fontsize=10)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
