"""Makes the page of benchmarks and its charts from the records of runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.charts import draw_growth, draw_reference
from benchmarks.crystals.page import CRYSTAL_NOTE, CRYSTAL_TITLE, crystal_tables
from benchmarks.explanations import explanation
from benchmarks.goals import goals
from benchmarks.molecules.page import MOLECULE_NOTE, MOLECULE_TITLE, molecule_tables
from benchmarks.peers import PEERS
from benchmarks.results import Record, read_records
from benchmarks.sets.notes import SET_NOTES, SET_TITLES
from benchmarks.tables import markdown_table, told_number, told_time

TITLES = {
    "reference": "A large graph",
    "cold": "The same with a new edge list at every step",
    "cora": "Cora-sized",
    "molecules": "A fresh batch of 256 molecules at each step",
    "tiny": "Ten nodes: the cost of a call",
    "stars": "Stars: all edges at one node",
    "width": "Width",
    "growth": "Growth with the number of edges",
    "compile": "Compiling",
    "yardstick": "Generated against hand-written",
    "custom": "A score of one's own",
    "training": "Training on real graphs",
    **SET_TITLES,
    "crystals": CRYSTAL_TITLE,
    "molecule-training": MOLECULE_TITLE,
}
NOTES = {
    "reference": "169,343 nodes, 2,332,486 edges (source uniform, target ⌊N u²⌋, so with hubs), 64 "
    "to 8 heads x 16 channels, float32: the whole layer with its linear maps and, where it adds "
    "them, self-loops; the structure is warm.",
    "cold": "Building the structure is part of every step. PyG with a plain edge list builds none.",
    "cora": "2,708 nodes, 10,556 edges and self-loops, 1,433 to 8 heads x 8 channels.",
    "molecules": "25 atoms and 54 directed edges each with 16 features, 64 to 4 heads x 16 "
    "channels, no self-loops; collating is not counted, building structures is.",
    "tiny": "30 edges, 16 to 4 heads x 8 channels; mean of 200 calls in every sample.",
    "stars": "As many nodes and edges as the large graph: spread evenly, all into one node, all "
    "out of one node. Ratios are to the even ones.",
    "width": "20,000 nodes, 200,000 edges, GATv2Conv with 8 heads of H · C / 8 channels.",
    "growth": "GATv2Conv, 64 to 8 x 16. Left 100,000 nodes; right one node for 14 edges.",
    "compile": "First training step of a fresh process, importing not counted: with an empty cache "
    "and with the one that it left. 1,000 nodes, 5,000 edges.",
    "yardstick": "GATv2 attention without linear maps on the large graph, 8 x 16: what the library "
    "generates from a score of one line, against C++ written for this shape alone "
    "(`benchmarks/yardstick/gatv2.cpp`).",
    "custom": "GATv2 written by a user with `EdgeAttention`, against the layer; the large graph.",
    "training": "Two layers with the published settings, dropout and Adam included. The share of "
    "attention is what a step takes above one with the linear maps alone: scores, softmax, sums, "
    "dropout of weights, self-loops, both ways.",
    **SET_NOTES,
    "crystals": CRYSTAL_NOTE,
    "molecule-training": MOLECULE_NOTE,
}
METHOD = """\
Every number is a median of samples taken in turn (A B C A B C ...) within one run, and ratios are
ratios of medians. A sample is one training step: its *forward* is timed with gradients on, as
in training; *forward + backward* goes on to the gradients of node features and weights for a fixed
random gradient of the output. All contestants have the same weights, and a run stops where they
disagree about outputs or gradients. Peers that need other packages run in processes of their own;
only one computes at a time. PyG's sorted `EdgeIndex` and `torch.compile` get edge lists with
self-loops in them, which spares them work that PyG alone does at each call. Peak memory is the
growth of a fresh process during one warm training step, outputs and gradients counted; inputs,
weights and structures that are kept are not."""


def write_report(records: Path, folder: Path) -> None:
    """Writes ``benchmarks.md`` and its charts.

    Args:
        records: Folder of records.
        folder: Receives the files; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = read_records(records)
    parts = ["# Benchmarks", "Made by `python -m benchmarks.run` from `benchmarks/records/`."]
    if any(record.about["quick"] for record in found.values()):
        parts.append("**Some of these are of a quick try at tiny sizes: they say nothing.**")
    parts += _goals(found)
    for group, title in TITLES.items():
        if group in found:
            parts += [f"## {title}", NOTES[group], *body(group, found[group], folder)]
            parts.append(_about(found[group]))
    parts += ["## How it is measured", METHOD]
    (folder / "benchmarks.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def body(group: str, record: Record, folder: Path) -> Iterator[str]:
    if group == "reference":
        draw_reference(record, folder / "benchmarks_reference.svg")
        yield "![Seconds of a training step](benchmarks_reference.svg)"
    if group == "growth":
        draw_growth(record, folder / "benchmarks_growth.svg")
        yield "![Seconds over edges](benchmarks_growth.svg)"
        yield _growth_table(record)
    elif group == "compile":
        yield _compile_table(record)
    elif group == "training":
        yield _training_table(record)
    elif group == "stars":
        yield _star_table(record)
    elif group == "perceiver":
        yield _points_table(record)
    elif group == "crystals":
        yield from crystal_tables(record)
    elif group == "molecule-training":
        yield from molecule_tables(record)
    elif len(record.peers()) == 2 and len(record.results) == 2:
        yield _pair_table(record)
    else:
        yield _peer_table(record)
    if group in ("reference", "yardstick", "sets-ragged"):
        yield "Peak memory of a training step:"
        yield peak_table(record)


def _goals(records: Mapping[str, Record]) -> list[str]:
    found = list(goals(records))
    rows = [
        [
            goal.what,
            f"{'≥' if goal.is_floor else '≤'} {goal.bound:.3g} {goal.unit}",
            f"{goal.measured:.3g} {goal.unit}",
            "yes" if goal.is_met else "**no**",
        ]
        for goal in found
    ]
    if not rows:
        return []
    missed = {goal.what: explanation(goal.what) for goal in found if not goal.is_met}
    reasons = [f"- *{what}*: {text}" for what, text in missed.items() if text is not None]
    table = ["## Goals", markdown_table(["", "goal", "measured", "met"], rows)]
    return [*table, "Why some are missed:", "\n".join(reasons)] if reasons else table


def _peer_table(record: Record) -> str:
    peers = record.peers()
    rows = []
    for case in record.cases():
        for layer in record.layers(case):
            told = [case] if len(record.cases()) > 1 else []
            told += [layer] if len(record.layers(case)) > 1 or not told else []
            times, ratios = [], []
            for peer in peers:
                both = [record.median(case, layer, peer, what) for what in ("forward", "training")]
                times.append(" / ".join(told_time(seconds) for seconds in both))
                both = [
                    record.ratio(case, layer, (peer, "ours"), what)
                    for what in ("forward", "training")
                ]
                ratios.append(" / ".join(told_number(ratio) for ratio in both))
            rows += [[", ".join(told), *times], ["times ours", *ratios]]
    return markdown_table(["forward / forward + backward", *map(_title, peers)], rows)


def peak_table(record: Record) -> str:
    (case,) = record.cases()
    rows = []
    for layer in record.layers(case):
        peaks = [record.median(case, layer, peer, "peak") for peer in record.peers()]
        rows.append([layer, *("-" if peak is None else f"{peak / 1e9:.2f} GB" for peak in peaks)])
    return markdown_table(["", *map(_title, record.peers())], rows)


def _pair_table(record: Record) -> str:
    (case,), (first, second) = record.cases(), record.peers()
    (layer,) = record.layers(case)
    rows = [
        [
            title,
            *(told_time(record.median(case, layer, peer, what)) for peer in (first, second)),
            told_number(record.ratio(case, layer, (first, second), what)),
        ]
        for what, title in (("forward", "forward"), ("training", "forward + backward"))
    ]
    return markdown_table(["", _title(first), _title(second), "ratio"], rows)


def _star_table(record: Record) -> str:
    rows = []
    for case in record.cases():
        for layer in record.layers(case):
            cells = []
            for what in ("forward", "training"):
                seconds = record.median(case, layer, "ours", what)
                even = record.median("regular", layer, "ours", what)
                cells.append(told_time(seconds))
                cells.append("-" if not (even and seconds) else told_number(seconds / even))
            rows.append([case, layer, *cells])
    return markdown_table(
        ["edges", "layer", "forward", "ratio", "forward + backward", "ratio"], rows
    )


def _growth_table(record: Record) -> str:
    rows: dict[int, list[str]] = {}
    for prefix in ("fixed", "proportional"):
        for edges, seconds, ratio in record.growth(prefix, "ours", "training"):
            rows.setdefault(edges, [f"{edges:,}"]).extend([told_time(seconds), told_number(ratio)])
    header = ["edges", "N fixed", "over half the edges", "N ∝ E", "over half the edges"]
    return markdown_table(header, list(rows.values()))


def _points_table(record: Record) -> str:
    layers = record.layers(record.cases()[0])
    before: dict[str, list[float | None]] = {layer: [None, None] for layer in layers}
    rows = []
    for case in record.cases():
        cells = []
        for layer in layers:
            now = [record.median(case, layer, "ours", what) for what in ("forward", "training")]
            growth = [b / a if a and b else None for a, b in zip(before[layer], now, strict=True)]
            cells += [" / ".join(map(told_time, now)), " / ".join(map(told_number, growth))]
            before[layer] = now
        rows.append([f"{int(case.split()[-1]):,}", *cells])
    header = [title for layer in layers for title in (layer, "over a tenth")]
    return markdown_table(["points, forward / forward + backward", *header], rows)


def _compile_table(record: Record) -> str:
    rows = [
        [
            layer,
            _title(peer),
            *(told_time(record.median("compile", layer, peer, w)) for w in ("empty", "cached")),
            told_time(record.median("compile", layer, peer, "second")),
        ]
        for layer in record.layers("compile")
        for peer in record.peers()
        if record.find("compile", layer, peer)
    ]
    return markdown_table(["", "", "empty cache", "from the cache", "second step"], rows)


def _training_table(record: Record) -> str:
    rows = []
    for case in record.cases():
        for layer in record.layers(case):
            rest = record.median(case, layer, "linear maps", "training")
            cells = []
            for peer in ("ours", "pyg"):
                step = record.median(case, layer, peer, "training")
                cells.append(told_time(step))
                cells.append("-" if not (step and rest) else f"{100 * (1 - rest / step):.0f} %")
            ratio = record.ratio(case, layer, ("pyg", "ours"), "training")
            rows.append([case, layer, *cells, told_time(rest), told_number(ratio)])
    header = ["", "", "graphattn", "in attention", "PyG", "in attention", "linear maps alone"]
    return markdown_table([*header, "PyG, times ours"], rows)


def _about(record: Record) -> str:
    about, samples = record.about, len(record.results[0].get("training", ())) or None
    versions = {name: version for name, version in about["versions"].items() if name != "graphattn"}
    for worker in about["workers"].values():
        versions |= {
            name: v for name, v in worker["versions"].items() if name.startswith("torch_s")
        }
    for name, worker in about["workers"].items():
        if name == "dgl":
            versions["dgl"] = f"{worker['versions']['dgl']} with {worker['versions']['torch']}"
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    hardware = about["hardware"]
    counted = f"; samples: {samples} each" if samples else ""
    return (
        f"`{about['command']}`, commit {about['commit']}, {about['date'][:10]}, {hardware['cpu']}"
        f" with {hardware['cores']} cores, threads used: {hardware['threads']}; {told}{counted}."
    )


def _title(peer: str) -> str:
    return PEERS[peer].title
