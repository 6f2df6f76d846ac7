"""What the page says of training on molecules, and its tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.molecules.parts import PARTS, SHARED
from benchmarks.results import Record
from benchmarks.tables import markdown_table, told_number, told_time

MOLECULE_TITLE = "Training networks on fresh batches of molecules"
MOLECULE_NOTE = """\
A training step, Adam and the clipping of gradients included, of the networks of
`examples/molecules.py` and their kin: 4 layers, 64 channels, 4 heads, dropout of 0.3, features of
OGB, encodings of random walks computed before. Every step takes 256 molecules of the Open Graph
Benchmark that no step has seen, so that all structures are built anew in it; collating is not
counted. PyG's networks have the same inputs, maps, norms and perceptrons, modules of PyTorch, and
the same weights; losses and gradients agree without dropout. Their layers are `GPSConv`,
`GATv2Conv` and `TransformerConv` of PyG; GatedGCN and the graph transformer, which PyG has not, are
written with its `MessagePassing`, the former as in the code of GraphGPS. GINE is PyG's in both.
*All weights kept* drops no weights of the attention among all atoms, the others do."""
_TITLES = {"ours": "graphattn", "pyg": "of PyG's parts"}
_PAIR = ("pyg", "ours")


def molecule_tables(record: Record) -> Iterator[str]:
    """Times and peaks, how much padding there is, and where a step goes."""
    yield _times(record)
    yield _padding(record)
    yield (
        "Where a step goes, by a profile of steps after those that were timed:"
        " *attention* is all that depends on edges or pairs, its own dropout with it; *dropout* is"
        " that of features; *structures* are timed by themselves; *rest* is element by element;"
        " *between operators* is Python. *At most* is how many times faster than PyG's the step"
        f" would be with nothing in it but {_listed(SHARED)}, which no attention makes faster."
        ' The same for one network: `python -m benchmarks.molecules.parts "GPS, GatedGCN"`.'
    )
    yield _shares(record)


def _times(record: Record) -> str:
    rows = []
    for case, layer in _networks(record):
        cells = []
        for peer in _TITLES:
            both = (record.median(case, layer, peer, what) for what in ("forward", "training"))
            cells.append(" / ".join(map(told_time, both)))
        ratio = record.ratio(case, layer, _PAIR, "training")
        peaks = [record.median(case, layer, peer, "peak") for peer in _TITLES]
        told = ["-" if peak is None else f"{peak / 1e6:,.0f} MB" for peak in peaks]
        rows.append([layer, case, *cells, told_number(ratio), *told])
    header = ["forward / whole step", "molecules", *_TITLES.values(), "times ours"]
    return markdown_table([*header, "peak memory", "PyG's peak"], rows)


def _padding(record: Record) -> str:
    told = []
    for case in record.cases():
        found = record.find(case, record.layers(case)[0], "ours")
        if found is None:
            continue
        counts = found["sizes"]
        molecules, padded = counts["molecules"], counts["molecules"] * counts["largest"] ** 2
        told.append(
            f"A molecule of {case} has {counts['atoms'] / molecules:.0f} atoms and"
            f" {counts['bonds'] / molecules:.0f} directed bonds, and the largest of a batch"
            f" {counts['largest']:.0f} atoms (means): padded to the largest, as `GPSConv` of PyG"
            f" pads them, there are {padded / counts['pairs']:.0f} times as many pairs."
        )
    return " ".join(told)


def _shares(record: Record) -> str:
    rows = []
    for case, layer in _networks(record):
        for peer, title in _TITLES.items():
            found = record.find(case, layer, peer)
            if found is None:
                continue
            whole = sum(found["parts"].values())
            shares = (f"{100 * found['parts'][part] / whole:.0f} %" for part in PARTS)
            most = most_times(record, case, layer) if peer == "ours" else None
            rows.append([f"{layer}, {case}, {title}", *shares, told_number(most)])
    return markdown_table(["", *PARTS, "at most"], rows)


def most_times(record: Record, case: str, layer: str) -> float | None:
    """PyG's step over what is shared of ours: no attention, however fast, makes the ratio larger.

    Args:
        record: Of this group.
        case: Name of the molecules.
        layer: Name of the network.
    """
    ratio, found = record.ratio(case, layer, _PAIR, "training"), record.find(case, layer, "ours")
    if ratio is None or found is None:
        return None
    parts: Mapping[str, Any] = found["parts"]
    return ratio * sum(parts.values()) / sum(parts[part] for part in SHARED)


def _networks(record: Record) -> Iterator[tuple[str, str]]:
    for case in record.cases():
        for layer in record.layers(case):
            yield case, layer


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
