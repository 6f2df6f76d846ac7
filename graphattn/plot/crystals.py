"""Attention drawn on crystals, image by image, and by distance."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.datasets.chemical_elements import SYMBOLS
from graphattn.datasets.crystals import Crystal
from graphattn.plot.crystal_weights import ImageWeights, ShellProfile
from graphattn.plot.figures import new_figure, profile_panels

_LEAST = 0.005  # of a head's highest weight: what is less would be no more than a dot
_LARGEST = 260.0  # points squared: the area of the highest weight


def attention_on_crystal(
    crystal: Crystal,
    seen: ImageWeights,
    *,
    heads: Sequence[int] | None = None,
    num_columns: int = 4,
    figure: Any | None = None,
) -> Any:
    """Draws what one atom attends to, head by head: images of atoms around the edges of the cell.

    The area of an image is its weight, and what is heavier is less transparent; each head has its
    own scale, whose highest weight stands above it, with the width of its Gaussian. Images below
    half a percent of that are not drawn. Colours are elements; dots are the atoms of the cell; the
    atom that attends has a black ring.

    Args:
        crystal: The crystal, as it stands in the batch.
        seen: What an atom attends to, see ``image_weights``.
        heads: Which ones, counted from zero; all without it.
        num_columns: Heads in a row.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given).

    Raises:
        TypeError: If ``crystal`` is no ``Crystal``, or ``seen`` no ``ImageWeights``.
        ValueError: If these are not of one crystal, a weight is negative, there is no such head,
            no head at all, or ``num_columns`` is not positive.
        ImportError: If matplotlib is not installed.
    """
    _check_seen(crystal, seen)
    heads = range(seen.weight.shape[1]) if heads is None else heads
    _check_heads(heads, seen.weight.shape[1], num_columns)
    num_columns = min(num_columns, len(heads))
    num_rows = math.ceil(len(heads) / num_columns)
    figure = new_figure(2.9 * num_columns + 0.8, 3.1 * num_rows) if figure is None else figure
    grid = figure.add_gridspec(num_rows, num_columns)
    colours = _colours(crystal)
    home = _home(crystal, seen)
    highest = seen.weight.amax(0)  # (H,)
    is_drawn = (seen.weight >= _LEAST * highest) & (seen.weight > 0)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))).double()
    whole = torch.cat([corners @ crystal.lattice, seen.position[is_drawn[:, list(heads)].any(1)]])
    for place, head in enumerate(heads):
        panel = figure.add_subplot(grid[divmod(place, num_columns)], projection="3d")
        _draw_cell(panel, crystal.lattice)
        panel.scatter(*home.T.tolist(), c=[colours[n] for n in crystal.numbers.tolist()], s=6)
        own = is_drawn[:, head]
        part = seen.weight[own, head] / highest[head]
        numbers = crystal.numbers[seen.atom[own]].tolist()
        panel.scatter(
            *seen.position[own].T.tolist(),
            c=[(*colours[n], 0.3 + 0.6 * p) for n, p in zip(numbers, part.tolist(), strict=True)],
            s=(_LARGEST * part).tolist(),
            linewidths=0,
            depthshade=False,  # transparency is for the weights
        )
        centre = home[seen.query : seen.query + 1].T.tolist()
        panel.scatter(*centre, s=1.2 * _LARGEST, facecolors="none", edgecolors="black")
        _frame(panel, whole)
        panel.set_title(
            rf"head {head + 1}: $\sigma$ {seen.sigma[head]:.2f} Å, highest {highest[head]:.2g}",
            fontsize=8,
        )
    figure.legend(handles=_names(colours), frameon=False, loc="outside right center")
    return figure


def attention_in_shells(
    profiles: Mapping[str, ShellProfile],
    *,
    quantity: str = "weight per atom",
    num_columns: int = 2,
    figure: Any | None = None,
) -> Any:
    """Draws profiles side by side: what each head gives to each distance.

    Args:
        profiles: Name of a panel, such as ``"layer 1"``, to its profile; see ``shell_profile``.
        quantity: What the weights are: the label of the vertical axis, which all panels share.
        num_columns: Panels in a row.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given). What is farther than all shells stands at
        the right end of a line.

    Raises:
        ValueError: If there is no profile, or ``num_columns`` is not positive.
        ImportError: If matplotlib is not installed.
    """
    figure, panels = profile_panels(len(profiles), num_columns, figure)
    for panel, (name, profile) in zip(panels.flat, profiles.items(), strict=False):
        borders = [profile.step * shell for shell in range(len(profile.weight) + 1)]
        for head, values in enumerate(profile.weight.T.tolist()):
            panel.stairs(values, borders, label=f"head {head + 1}", linewidth=1.4, baseline=None)
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(f"distance (Å), from {borders[-2]:g} on as one")
        panel.grid(color="0.9", linewidth=0.8, axis="y")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[:, 0]:
        panel.set_ylabel(quantity)
    panels[0, 0].set_ylim(bottom=0.0)
    most_heads = max(panels.flat[: len(profiles)], key=lambda panel: len(panel.patches))
    figure.legend(handles=[*most_heads.patches], frameon=False, loc="outside right center")
    return figure


def _check_seen(crystal: Crystal, seen: ImageWeights) -> None:
    for name, given, kind in (("crystal", crystal, Crystal), ("seen", seen, ImageWeights)):
        if not isinstance(given, kind):
            raise TypeError(f"{name} must be {kind.__name__}, got {type(given).__name__}")
    size = int(seen.atom.max()) + 1
    if size != len(crystal):
        raise ValueError(f"seen must be of the crystal with {len(crystal)} atoms, got {size}")
    if bool((seen.weight < 0).any()):
        raise ValueError(
            f"seen must have weights that are not negative, got {float(seen.weight.min()):.3g}"
        )


def _check_heads(heads: Sequence[int], num_heads: int, num_columns: int) -> None:
    if num_columns < 1:
        raise ValueError(f"num_columns must be at least 1, got {num_columns}")
    if len(heads) == 0:
        raise ValueError("heads must hold at least one head, got none")
    for head in heads:
        if not 0 <= head < num_heads:
            raise ValueError(f"heads must lie in [0, {num_heads}), got {head}")


def _home(crystal: Crystal, seen: ImageWeights) -> Tensor:
    """The atoms of the cell where ``seen`` has them: the middle one of the images of each."""
    return seen.position.unflatten(0, (len(crystal), -1))[:, len(seen.atom) // len(crystal) // 2]


def _colours(crystal: Crystal) -> dict[int, tuple[float, float, float]]:
    """One for each element, by rising atomic number."""
    from matplotlib import colormaps

    palette: Any = colormaps["tab10"]
    return {
        number: palette.colors[place % len(palette.colors)]
        for place, number in enumerate(sorted(set(crystal.numbers.tolist())))
    }


def _names(colours: Mapping[int, tuple[float, float, float]]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, marker="o", linestyle="", label=SYMBOLS[number - 1])
        for number, colour in colours.items()
    ]


def _draw_cell(panel: Any, lattice: Tensor) -> None:
    corners = list(itertools.product((0.0, 1.0), repeat=3))
    for start, end in itertools.combinations(corners, 2):
        if sum(a != b for a, b in zip(start, end, strict=True)) == 1:
            edge = torch.tensor([start, end]).double() @ lattice
            panel.plot(*edge.T.tolist(), color="0.5", linewidth=0.8)


def _frame(panel: Any, points: Tensor) -> None:
    """Makes an ångström as long in all directions, and in all panels."""
    low, high = points.amin(0), points.amax(0)
    middle, half = (low + high) / 2, (high - low).clamp(min=1.0) / 2
    for name, start, end in zip(
        "xyz", (middle - half).tolist(), (middle + half).tolist(), strict=True
    ):
        getattr(panel, f"set_{name}lim")(start, end)
    panel.set_box_aspect(half.tolist(), zoom=1.25)
    panel.set_proj_type("ortho")
    panel.view_init(elev=15, azim=-70)
    panel.set_axis_off()
