"""Attention drawn on sets: what each query reads of the points, which instances make a bag."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_sets
from graphattn.plot.figures import colour_scale, new_figure


def attention_on_points(
    points: Tensor,
    weights: Tensor,
    blocks: Blocks,
    *,
    captions: Sequence[str] | None = None,
    quantity: str = "attention",
    figure: Any | None = None,
) -> Any:
    """Draws a set of points once for each of its queries, coloured by what that query reads.

    Queries are the seeds of ``PMA``, the induced points of ``ISAB``, or latents. Sets stand one
    below another, the queries of a set side by side. Heads are averaged, and each query's colours
    go from zero to its highest weight: how high that is depends on how many points it reads.

    Args:
        points: Where the keys of ``blocks`` lie, ``(M, 2)`` or ``(M, 3)``, in any one unit.
        weights: One for each pair of ``blocks``, ``(P,)`` or ``(P, H)``, as layers return them.
        blocks: The sets. Those without queries are not drawn.
        captions: A line of text for above each query's panel, ``blocks.num_targets`` of them.
        quantity: What the weights are, in the label of the colour scale.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given). A set without keys gives empty panels.

    Raises:
        TypeError: If ``blocks`` is no ``Blocks``.
        ValueError: If there is no query, or a shape or a length does not fit.
        ImportError: If matplotlib is not installed.
    """
    _check_points(points, weights, blocks, captions)
    sizes = list(zip(blocks.target_sizes, blocks.source_sizes, strict=True))
    by_set = _mean_over_heads(weights).split([queries * keys for queries, keys in sizes])
    places = points.detach().cpu().split(blocks.source_sizes)
    rows = [number for number, (queries, _) in enumerate(sizes) if queries]
    num_columns = max(queries for queries, _ in sizes)
    width, height = 2.2 * num_columns + 0.8, 2.3 * len(rows)
    figure = new_figure(width, height) if figure is None else figure
    scale = colour_scale([0.0, 1.0])
    space = {"projection": "3d"} if points.shape[1] == 3 else {}
    grid = figure.add_gridspec(len(rows), num_columns)
    panels, names = [], iter(captions or [""] * blocks.num_targets)
    for row, number in enumerate(rows):
        for column, weight in enumerate(by_set[number].view(sizes[number])):
            panel = figure.add_subplot(grid[row, column], **space)
            _draw_points(panel, places[number], weight, scale)
            panel.set_title(next(names), fontsize=9)
            panels.append(panel)
    label = f"{quantity}, over the query's highest"
    figure.colorbar(scale, ax=panels, label=label, shrink=0.8, pad=0.02)
    return figure


def _draw_points(panel: Any, points: Tensor, weight: Tensor, scale: Any) -> None:
    if weight.any():
        weight = weight / weight.max()
    order = weight.argsort()  # the highest are drawn last, and seen
    in_space = points.shape[1] == 3
    panel.scatter(
        *points[order].t().tolist(),
        c=weight[order].tolist(),
        norm=scale.norm,
        cmap=scale.cmap,
        s=14,
        linewidths=0,
        **({"depthshade": False} if in_space else {}),  # colours are for the weights
    )
    panel.set_aspect("equal", adjustable="datalim")
    panel.tick_params(length=0)
    for axis in (panel.xaxis, panel.yaxis, *([panel.zaxis] if in_space else [])):
        axis.set_ticklabels([])
        axis.set_ticks([])


def attention_in_bags(
    weights: Tensor,
    blocks: Blocks,
    labels: Tensor,
    *,
    names: Sequence[str] = ("negative", "positive"),
    quantity: str = "attention",
    figure: Any | None = None,
) -> Any:
    """Draws every bag as a bar, cut into the weights of its instances, the highest first.

    Bags of one label share a panel, those that dwell most on one instance on top. Beside a bar
    stands the number of instances. Branches are averaged.

    Args:
        weights: Of the instances, ``(N,)`` or ``(N, branches)``, as ``GatedAttentionPooling``
            returns them.
        blocks: ``S`` bags of ``N`` instances, as the layer has them.
        labels: Of the bags, ``(S,)``, int64, from 0 to ``len(names) - 1``.
        names: Of the labels, a panel each.
        quantity: What the weights are: the label of the horizontal axis.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given). An empty bag has a bar without length; no
        bags give empty panels.

    Raises:
        TypeError: If ``blocks`` is no ``Blocks``, or ``labels`` no int64 tensor.
        ValueError: If there are no names, a label has none, or a shape does not fit.
        ImportError: If matplotlib is not installed.
    """
    _check_bags(weights, blocks, labels, names)
    bags = [
        bag.sort(descending=True).values.tolist()
        for bag in _mean_over_heads(weights).split(blocks.target_sizes)
    ]
    of_label = [
        sorted(
            (bag for bag, label in zip(bags, labels.tolist(), strict=True) if label == number),
            key=lambda bag: bag[:1],
            reverse=True,
        )
        for number in range(len(names))
    ]
    most = max(map(len, of_label))
    width, height = 3.4 * len(names) + 0.6, 1.0 + 0.16 * max(most, 6)
    figure = new_figure(width, height) if figure is None else figure
    scale = colour_scale([weight for bag in bags for weight in bag])
    panels = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for panel, name, own in zip(panels, names, of_label, strict=True):
        _draw_bags(panel, own, scale)
        panel.set_title(f"{name}, {len(own)} bags", fontsize=9)
        panel.set_xlabel(f"{quantity}, highest first")
    panels[0].set_ylim(max(most, 1) - 0.5, -0.5)
    panels[0].set_ylabel("instances of the bag", labelpad=16)  # left of their numbers
    return figure


def _draw_bags(panel: Any, bags: list[list[float]], scale: Any) -> None:
    for row, bag in enumerate(bags):
        widths = torch.tensor(bag, dtype=torch.float64)
        panel.barh(
            [row] * len(bag),
            bag,
            left=(widths.cumsum(0) - widths).tolist(),
            color=[scale.to_rgba(weight) for weight in bag],
            edgecolor="white",
            linewidth=0.5,
        )
        panel.text(-0.01, row, len(bag), ha="right", va="center", fontsize=6)
    panel.set_yticks([])
    panel.spines[["top", "right", "left"]].set_visible(False)


def _mean_over_heads(weights: Tensor) -> Tensor:
    return weights.detach().cpu().double().unsqueeze(-1).flatten(1).mean(1)


def _check_points(
    points: Tensor, weights: Tensor, blocks: Blocks, captions: Sequence[str] | None
) -> None:
    check_sets(blocks)
    if blocks.num_targets == 0:
        raise ValueError("blocks must have a query to draw, got none")
    if points.ndim != 2 or points.shape[0] != blocks.num_sources or points.shape[1] not in (2, 3):
        expected = f"({blocks.num_sources}, 2) or ({blocks.num_sources}, 3)"
        raise ValueError(f"points must be {expected}, got {tuple(points.shape)}")
    _check_weights(weights, blocks.num_edges, "P")
    if captions is not None and len(captions) != blocks.num_targets:
        raise ValueError(
            f"captions must have one entry per query, {blocks.num_targets}, got {len(captions)}"
        )


def _check_bags(weights: Tensor, blocks: Blocks, labels: Tensor, names: Sequence[str]) -> None:
    check_sets(blocks)
    _check_weights(weights, blocks.num_targets, "N")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels must be an int64 tensor, got {got}")
    if labels.shape != (blocks.num_sets,):
        raise ValueError(f"labels must be ({blocks.num_sets},), got {tuple(labels.shape)}")
    if len(names) == 0:
        raise ValueError("names must hold at least one label, got none")
    for label in labels.tolist():
        if not 0 <= label < len(names):
            raise ValueError(f"labels must lie in [0, {len(names)}), got {label}")


def _check_weights(weights: Tensor, num_rows: int, symbol: str) -> None:
    if weights.ndim not in (1, 2) or weights.shape[0] != num_rows:
        raise ValueError(
            f"weights must be ({symbol},) or ({symbol}, H) with {symbol} = {num_rows}, "
            f"got {tuple(weights.shape)}"
        )
