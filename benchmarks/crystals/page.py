"""What the page says of the cases on crystals, and its tables."""

from collections.abc import Iterator
from typing import Any

from benchmarks.results import Record
from benchmarks.tables import markdown_table, told_number, told_time

CRYSTAL_TITLE = "Crystals: sums over all images of an atom"
CRYSTAL_NOTE = """\
64 crystals drawn from the 3,938 of `flla`; widths of the Gaussians from 1.1 to 2 Å, as a
Crystalformer chooses them, 8 heads x 16 channels, 64 radial functions, images until less than a
millionth is left out. *Lattice sums* go forward, and back to the gradients of widths and weights;
*Crystalformer* is a training step of the published model (4 layers, 128 channels), clipping and
AdamW included, on 16 of the crystals, as four layers of plain PyTorch take long. Plain PyTorch is
the library's definition, `backend="reference"`: one crystal after another, all pairs, images and
radial functions of one in a tensor, and autograd. In the most skewed of the 3,938, whose box has
50,653 images for each of 576 pairs, that tensor would have 7.5 GB; none such is among the 64."""
_TITLES = {"ours": "graphattn", "reference": "plain PyTorch"}
_PASSES = (("forward", "forward"), ("training", "whole"))


def crystal_tables(record: Record) -> Iterator[str]:
    """Against plain PyTorch, over the number of pairs, and over the size of cells."""
    yield _against_reference(record)
    yield "The same 64 crystals, several times in one batch: cost over the number of pairs."
    yield _over_pairs(record)
    yield (
        "One crystal, rock salt with 512 atoms in all, cut into small or large cells. A small cell"
        " needs many images of each of its pairs, a large one has many pairs. Images are those of"
        " the box that holds all within reach; times are of forward and backward."
    )
    yield _over_cells(record)


def _against_reference(record: Record) -> str:
    rows = []
    for result in record.results:
        if result["peer"] != "reference":
            continue
        case, layer = result["case"]["name"], result["layer"]
        for what, title in _PASSES:
            times = (record.median(case, layer, peer, what) for peer in _TITLES)
            ratio = record.ratio(case, layer, ("reference", "ours"), what)
            rows.append([f"{layer}, {case}, {title}", *map(told_time, times), told_number(ratio)])
        peaks = (record.median(case, layer, peer, "peak") for peer in _TITLES)
        told = ("-" if peak is None else f"{peak / 1e6:,.0f} MB" for peak in peaks)
        ratio = record.ratio(case, layer, ("reference", "ours"), "peak")
        rows.append([f"{layer}, {case}, peak memory", *told, told_number(ratio)])
    return markdown_table(["", *_TITLES.values(), "times ours"], rows)


def _over_pairs(record: Record) -> str:
    rows: list[list[str]] = []
    before: float | None = None
    for name, sizes in _named(record, "copies"):
        seconds = [record.median(name, "lattice sums", "ours", what) for what, _ in _PASSES]
        whole = seconds[1]
        growth = None if before is None or whole is None else whole / before
        counts = (f"{sizes[count]:,}" for count in ("crystals", "pairs"))
        rows.append([*counts, " / ".join(map(told_time, seconds)), told_number(growth)])
        before = whole
    header = ["crystals", "pairs", "forward / forward + backward", "over half the pairs"]
    return markdown_table(header, rows)


def _over_cells(record: Record) -> str:
    rows = []
    for name, sizes in _named(record, "cell"):
        seconds = record.median(name, "lattice sums", "ours", "training")
        if seconds is None:
            continue
        counts = (sizes["atoms"] // sizes["crystals"], sizes["crystals"], sizes["pairs"])
        rows.append(
            [
                *(f"{count:,}" for count in counts),
                f"{sizes['images'] / sizes['pairs']:,.0f}",
                told_time(seconds),
                told_time(seconds / sizes["pairs"]),
                told_time(seconds / sizes["atoms"]),
            ]
        )
    header = ["atoms in a cell", "cells", "pairs", "images of a pair", "time"]
    return markdown_table([*header, "a pair", "an atom"], rows)


def _named(record: Record, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Cases of this name and a number, and what is in their batches."""
    for result in record.results:
        if result["case"]["name"].startswith(f"{prefix} "):
            yield result["case"]["name"], result["sizes"]
