"""What the layers are to reach, and what the records say of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.results import Record
from benchmarks.sets.cases import SetCase

# Times faster than PyG forward, than PyG with backward, than the best peer with backward.
SPEED = {
    "GATConv": (10.0, 7.0, 4.0),
    "GATv2Conv": (18.0, 11.0, 5.5),
    "TransformerConv": (10.0, 6.0, 4.5),
}
_PASSES = (("forward", "forward"), ("training", "forward + backward"))


@dataclass(frozen=True)
class Goal:
    """One number to reach.

    Attributes:
        what: What is measured.
        bound: What it must reach.
        measured: What it is.
        unit: Of both.
        is_floor: Whether larger is better.
    """

    what: str
    bound: float
    measured: float
    unit: str
    is_floor: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it is reached."""
        return self.measured >= self.bound if self.is_floor else self.measured <= self.bound


def goals(records: Mapping[str, Record]) -> Iterator[Goal]:
    """All goals whose measurements are there."""
    for group, of_group in (
        ("reference", _reference),
        ("stars", _stars),
        ("growth", _growth),
        ("compile", _compile),
        ("tiny", _tiny),
        ("yardstick", _yardstick),
        ("custom", _custom),
        ("sets-ragged", _ragged_sets),
        ("sets-equal", _equal_sets),
        ("perceiver", _perceiver),
        ("crystals", _crystals),
        ("molecule-training", _molecule_training),
    ):
        if group in records:
            yield from of_group(records[group])


def _reference(record: Record) -> Iterator[Goal]:
    for layer, bounds in SPEED.items():
        best = record.best_peer("reference", layer, "training") or "pyg"
        for title, peer, what, bound in (
            ("PyG, forward", "pyg", "forward", bounds[0]),
            ("PyG, forward + backward", "pyg", "training", bounds[1]),
            ("the best peer, forward + backward", best, "training", bounds[2]),
        ):
            ratio = record.ratio("reference", layer, (peer, "ours"), what)
            if ratio is not None:
                yield Goal(f"{layer}: times faster than {title}", bound, ratio, "x", is_floor=True)
    ratio = record.ratio("reference", "GATv2Conv", ("ours", "pyg"), "peak")
    if ratio is not None:
        yield Goal("GATv2Conv: peak memory of a training step, of PyG's", 1 / 6, ratio, "x")


def _stars(record: Record) -> Iterator[Goal]:
    for star in ("target star", "source star"):
        for layer in record.layers(star):
            even = record.median("regular", layer, "ours", "training")
            seconds = record.median(star, layer, "ours", "training")
            if even is not None and seconds is not None:
                what = f"{layer}: {star} over evenly spread edges, forward + backward"
                yield Goal(what, 1.5, seconds / even, "x")


def _growth(record: Record) -> Iterator[Goal]:
    for prefix, title, limits in (
        ("fixed", "N fixed", ((0, 2.1),)),
        ("proportional", "N proportional to E", ((0, 2.4), (1_000_000, 2.15))),
    ):
        for start, bound in limits:
            beyond = f" beyond {start:,} edges" if start else ""
            ratios = [
                ratio
                for edges, _, ratio in record.growth(prefix, "ours", "training")
                if ratio is not None and edges / 2 >= start
            ]
            if ratios:
                yield Goal(f"most growth per doubling, {title}{beyond}", bound, max(ratios), "x")


def _compile(record: Record) -> Iterator[Goal]:
    for layer in record.layers("compile"):
        warm = record.median("compile", layer, "ours", "second")
        for what, title, bound in (
            ("empty", "compiling, in the first training step of a process", 3000.0),
            ("cached", "the same from the disk cache", 50.0),
        ):
            seconds = record.median("compile", layer, "ours", what)
            if seconds is not None and warm is not None:
                yield Goal(f"{layer}: {title}", bound, 1e3 * (seconds - warm), "ms")


def _tiny(record: Record) -> Iterator[Goal]:
    for layer in record.layers("tiny"):
        for what, title, bound in (
            ("forward", "forward", 250.0),
            ("training", "forward + backward", 550.0),
        ):
            seconds = record.median("tiny", layer, "ours", what)
            if seconds is not None:
                yield Goal(f"{layer}: 10 nodes, {title}", bound, 1e6 * seconds, "µs")


def _yardstick(record: Record) -> Iterator[Goal]:
    peers = ("generated", "yardstick")
    ratio = record.ratio("yardstick", "GATv2 attention", peers, "training")
    if ratio is not None:
        yield Goal("generated over hand-written GATv2, forward + backward", 1.3, ratio, "x")


def _custom(record: Record) -> Iterator[Goal]:
    ratio = record.ratio("custom", "GATv2Conv", ("custom", "ours"), "training")
    if ratio is not None:
        yield Goal("a score of one's own over the layer, forward + backward", 1.2, ratio, "x")


def _ragged_sets(record: Record) -> Iterator[Goal]:
    for case in record.cases():
        for layer in record.layers(case):
            for what, title in _PASSES:
                ratio = record.ratio(case, layer, ("pyg", "ours"), what)
                if ratio is not None:
                    told = f"{layer}, {case}: times faster than PyG, {title}"
                    yield Goal(told, 2.5, ratio, "x", is_floor=True)
            peak = record.median(case, layer, "ours", "peak")
            result = record.find(case, layer, "ours")
            if peak is not None and result is not None:
                elements = SetCase.from_plain(result["case"]).num_bytes
                told = f"{layer}, {case}: peak memory of a training step, of its elements'"
                yield Goal(told, 16.0, peak / elements, "x")


def _equal_sets(record: Record) -> Iterator[Goal]:
    for case in record.cases():
        for layer in record.layers(case):
            for what, title in _PASSES:
                ratio = record.ratio(case, layer, ("ours", "dense"), what)
                if ratio is not None:
                    yield Goal(f"{layer}, {case}: over a dense batch, {title}", 1.05, ratio, "x")


def _perceiver(record: Record) -> Iterator[Goal]:
    for layer in record.layers("points 1000000"):
        most, fewer = (
            record.median(f"points {count}", layer, "ours", "training")
            for count in (1_000_000, 100_000)
        )
        if most is not None and fewer is not None:
            told = f"{layer}: growth from 100,000 to 1,000,000 points, forward + backward"
            yield Goal(told, 11.0, most / fewer, "x")


def _crystals(record: Record) -> Iterator[Goal]:
    sums, of_plain = "lattice sums, 64 crystals", ("reference", "ours")
    ratio = record.ratio("64 crystals", "lattice sums", of_plain, "training")
    if ratio is not None:
        told = f"{sums}: times faster than plain PyTorch, forward + backward"
        yield Goal(told, 10.0, ratio, "x", is_floor=True)
    ratio = record.ratio("64 crystals", "lattice sums", of_plain[::-1], "peak")
    if ratio is not None:
        yield Goal(f"{sums}: peak memory, of plain PyTorch's", 1 / 20, ratio, "x")
    ratio = record.ratio("16 crystals", "Crystalformer", of_plain, "training")
    if ratio is not None:
        told = "Crystalformer, 16 crystals: times faster than plain PyTorch, a training step"
        yield Goal(told, 5.0, ratio, "x", is_floor=True)
    most, fewest = (
        record.median(f"copies {count}", "lattice sums", "ours", "training") for count in (16, 1)
    )
    if most is not None and fewest is not None:
        told = "lattice sums: growth from 64 to 1,024 crystals, forward + backward"
        yield Goal(told, 17.6, most / fewest, "x")


def _molecule_training(record: Record) -> Iterator[Goal]:
    for case in record.cases():
        for layer in record.layers(case):
            ratio = record.ratio(case, layer, ("pyg", "ours"), "training")
            if ratio is not None:
                told = f"{layer}, {case}: times faster than of PyG's parts, a training step"
                yield Goal(told, 2.5, ratio, "x", is_floor=True)
