"""Makes the page of a GPU from the records of runs; its tables are those of the CPU's page."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.bandwidth import achieved
from benchmarks.gpu.machine import Bandwidth
from benchmarks.gpu.timings import GROUPS
from benchmarks.report import NOTES, TITLES, body, peak_table
from benchmarks.results import Record, read_records
from benchmarks.tables import markdown_table

_HALF_TITLE = "The large graph in bfloat16"
_HALF_NOTE = (
    "The same shape with features and weights in bfloat16. Whether contestants agree is not"
    " asked: some sum in half precision, and are off by more than that would show."
)
_METHOD = """\
Every number is a median of samples taken in turn (A B C A B C ...) within one run, and ratios are
ratios of medians. A sample is one training step, timed by events of the device; before it begins,
the device is idle, so that what Python takes to launch a step counts, as it does for a user, where
the device is the faster of the two. Its *forward* is timed with gradients on; *forward + backward*
goes on to the gradients of node features and weights for a fixed random gradient of the output. All
contestants have the same weights; in float32, one that disagrees with PyTorch Geometric about
outputs or gradients is left out and named. Products are as precise as PyTorch has them by itself:
float32 without TF32. PyTorch Geometric takes torch-scatter if that is installed: the versions tell.
Peak memory is the growth of what PyTorch's allocator has given out during one warm training step.
Passes are timed by events around each, with work before them for as long as Python takes."""


def write_page(records: Path, folder: Path) -> Path:
    """Writes ``benchmarks.md`` and its charts.

    Args:
        records: Folder of records.
        folder: Receives the files; made if missing.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = read_records(records)
    parts = ["# Benchmarks on a GPU", "Made by `python -m benchmarks.gpu` from its records."]
    if any(record.about["quick"] for record in found.values()):
        parts.append("**Some of these are of a quick try at tiny sizes: they say nothing.**")
    if "checks" in found:
        parts += ["## Checks", *_checks(found["checks"]), _about(found["checks"])]
    if "bandwidth" in found:
        record = found["bandwidth"]
        parts += ["## Bandwidth", *_bandwidth(record), _about(record)]
    for group in GROUPS:
        if group in found:
            title, note = TITLES.get(group, _HALF_TITLE), NOTES.get(group, _HALF_NOTE)
            parts += [f"## {title}", note, *_group(group, found[group], folder)]
            parts.append(_about(found[group]))
    parts += ["## How it is measured", _METHOD]
    page = folder / "benchmarks.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _checks(record: Record) -> Iterator[str]:
    counts = {
        status: sum(result["status"] == status for result in record.results)
        for status in ("ok", "FAILED", "skipped")
    }
    yield ", ".join(f"{count} {status}" for status, count in counts.items() if count) + "."
    rows = [[result[name] for name in ("status", "name", "found")] for result in record.results]
    yield markdown_table(["", "check", "found"], rows)


def _bandwidth(record: Record) -> Iterator[str]:
    about = record.about["bandwidth"]
    bandwidth = Bandwidth(about["stated"], about["copied"])
    yield (
        "What each pass must move at the least, over what it took. Rows that edges gather count"
        " for every edge, though caches may give some of them; shares are of"
        f" {bandwidth}."
    )
    rows = []
    for result in record.results:
        reached = achieved(result)
        rows.append(
            [
                f"{result['attention']}, {result['dtype']}, {result['pass'].replace('_', ' ')}",
                f"{result['bytes'] / 1e6:,.1f} MB",
                f"{1e3 * statistics.median(result['seconds']):.3f} ms",
                f"{reached / 1e9:,.0f} GB/s",
                f"{reached / bandwidth.peak:.0%}",
                result["moves"],
            ]
        )
    yield markdown_table(
        ["pass", "least", "took", "achieved", "of the peak", "what must move"], rows
    )


def _group(group: str, record: Record, folder: Path) -> Iterator[str]:
    if record.results:
        yield from body(group, record, folder)
        if group == "bfloat16":
            yield "Peak memory of a training step:"
            yield peak_table(record)
    failures = record.about["failures"]
    if failures:
        yield "Left out, since they failed:"
        yield "\n".join(
            f"- {failure['case']}, {failure['layer']} of {failure['peer']}: {failure['error']}"
            for failure in failures
        )


def _about(record: Record) -> str:
    about, hardware = record.about, record.about["hardware"]
    told = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"`{about['command']}`, commit {about['commit']}, {about['date'][:10]}, {about['machine']}"
        f" beside {hardware['cpu']} with {hardware['cores']} cores; {told}."
    )
