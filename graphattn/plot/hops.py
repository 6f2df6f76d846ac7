"""How far attention reaches: the weight that goes to nodes at each distance, head by head."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_sets
from graphattn.plot.figures import profile_panels


class HopProfile(NamedTuple):
    """The weight that a node gives to all nodes at a distance, on average over the nodes.

    Attributes:
        weight: ``(D + 1, H)`` float64, row ``d`` for ``d`` edges away; the last row also for all
            that is farther, or not connected. Where weights sum to one, so do the columns.
        uniform: The same if each node gave all nodes of its graph one weight, ``(D + 1,)``.
    """

    weight: Tensor
    uniform: Tensor


def hop_profile(
    weights: Tensor, distance: Tensor, blocks: Blocks, max_distance: int = 8
) -> HopProfile:
    r"""Sums attention by distance, and takes the mean over all nodes of all graphs.

    .. math::
        w_{d h} = \frac 1 N \sum_i \sum_{j : \mathrm{dist}(i, j) = d} \alpha_{i j h}, \qquad
        u_d = \frac 1 N \sum_i \frac{|\{j : \mathrm{dist}(i, j) = d\}|}{n_i}

    Args:
        weights: One for each pair, ``(P,)`` or ``(P, H)``, such as those of a ``GPSConv`` by
            ``weights_of_layers``.
        distance: Edges between query and key, ``(P,)`` int64, such as those of
            ``graphattn.encodings.shortest_path_distances``.
        blocks: The graphs; weights and distances are in the order of its pairs.
        max_distance: ``D``, from which on all distances count as one.

    Returns:
        The profile; zeros without nodes.

    Raises:
        TypeError: If ``blocks`` is no ``Blocks``, or ``distance`` no int64 tensor.
        ValueError: If a shape does not fit, or ``max_distance`` is negative.
    """
    check_sets(blocks)
    if max_distance < 0:
        raise ValueError(f"max_distance must not be negative, got {max_distance}")
    num_pairs = blocks.num_edges
    if weights.ndim not in (1, 2) or weights.shape[0] != num_pairs:
        raise ValueError(
            f"weights must be (P,) or (P, H) with P = {num_pairs}, got {tuple(weights.shape)}"
        )
    if distance.dtype != torch.int64:
        raise TypeError(f"distance must be an int64 tensor, got {distance.dtype}")
    if distance.shape != (num_pairs,):
        raise ValueError(f"distance must be ({num_pairs},), got {tuple(distance.shape)}")
    given = weights.detach().double().unsqueeze(-1).flatten(1)  # (P, H)
    num_keys = blocks.by_target.ptr.diff()
    share = num_keys[blocks.target].double().reciprocal().unsqueeze(1)
    both = torch.cat([given, share], dim=1)
    total = both.new_zeros(max_distance + 1, both.shape[1])
    total.index_add_(0, distance.clamp(max=max_distance), both)
    total /= max(1, int((num_keys > 0).sum()))
    return HopProfile(total[:, :-1], total[:, -1])


def attention_by_distance(
    profiles: Mapping[str, HopProfile],
    *,
    quantity: str = "weight per node",
    num_columns: int = 2,
    figure: Any | None = None,
) -> Any:
    """Draws profiles side by side, a line for each head before bars of uniform attention.

    Args:
        profiles: Name of a panel, such as ``"layer 1"``, to its profile; see ``hop_profile``.
        quantity: What the weights are: the label of the vertical axis, which all panels share.
        num_columns: Panels in a row.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given).

    Raises:
        ValueError: If there is no profile, or ``num_columns`` is not positive.
        ImportError: If matplotlib is not installed.
    """
    figure, panels = profile_panels(len(profiles), num_columns, figure)
    for panel, (name, profile) in zip(panels.flat, profiles.items(), strict=False):
        _draw_profile(panel, profile)
        panel.set_title(name, fontsize=10)
    for panel in panels[:, 0]:
        panel.set_ylabel(quantity)
    panels[0, 0].set_ylim(bottom=0.0)
    most_heads = max(panels.flat[: len(profiles)], key=lambda panel: len(panel.lines))
    handles = [*most_heads.lines, *most_heads.containers]
    figure.legend(handles=handles, frameon=False, loc="outside right center")
    return figure


def _draw_profile(panel: Any, profile: HopProfile) -> None:
    last = profile.weight.shape[0] - 1
    places = range(last + 1)
    for head, values in enumerate(profile.weight.T.tolist()):
        panel.plot(places, values, label=f"head {head + 1}", linewidth=1.6, marker="o", ms=3)
    panel.bar(places, profile.uniform.tolist(), label="uniform", color="0.85", width=0.7)
    step = max(1, math.ceil(last / 8))
    panel.set_xticks([*range(0, last, step), last])
    panel.set_xticklabels([*map(str, range(0, last, step)), f"≥ {last}"])
    panel.set_xlabel("edges away")
    panel.grid(color="0.9", linewidth=0.8, axis="y")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
