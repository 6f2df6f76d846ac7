"""Charts of the page of benchmarks: contestants side by side, and growth with the edges."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.peers import PEERS
from benchmarks.results import Record


def draw_reference(record: Record, path: Path) -> None:
    """Bars of a training step by layer and contestant, times ours written on them."""
    (case,) = record.cases()
    layers, peers = record.layers(case), record.peers()
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(peers)
    for at, peer in enumerate(peers):
        shift = (at - (len(peers) - 1) / 2) * width
        found = {i: record.median(case, layer, peer, "training") for i, layer in enumerate(layers)}
        own = {i + shift: seconds for i, seconds in found.items() if seconds}  # it may lack a layer
        bars = axes.bar(list(own), list(own.values()), width, label=PEERS[peer].title)
        axes.bar_label(bars, fmt="%.2g", fontsize=7)
    axes.set_xticks(range(len(layers)), layers)
    axes.set_ylabel("seconds, forward + backward")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_growth(record: Record, path: Path) -> None:
    """Seconds of a training step over the number of edges, both axes logarithmic."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for prefix, label in (("fixed", "N fixed"), ("proportional", "N ∝ E")):
        points = [
            (edges, seconds) for edges, seconds, _ in record.growth(prefix, "ours", "training")
        ]
        if points:
            axes.loglog(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xlabel("edges")
    axes.set_ylabel("seconds, forward + backward")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # The same records give the same file, byte for byte.
    with matplotlib.rc_context({"svg.hashsalt": "graphattn", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None})
