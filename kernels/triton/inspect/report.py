"""A table of kernels: what they take, what they move, and what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from graphattn.kernels.triton.inspect.gate import LONG_ROW
from graphattn.kernels.triton.inspect.inspection import Inspection
from graphattn.kernels.triton.inspect.kernels import Task
from graphattn.kernels.triton.inspect.prediction import Prediction

# Title, and whether the column holds numbers.
COLUMNS = {
    "layer": False,
    "H x C": False,
    "type": False,
    "GPU": False,
    "pass": False,
    "tile": True,
    "registers": True,
    "spilled": True,
    "shared": True,
    "warps": True,
    "limit": False,
    "in flight": True,
    "bytes": True,
    "least": True,
    "by warps": True,
    "widths": True,
    "instructions": True,
    "barriers": True,
    "memory": True,
    "issue": True,
    "gate": False,
}
LEGEND = """\
tile: edges that a block takes at a time x its warps. registers: of a thread. spilled: bytes that a
thread spills and loads back. shared: bytes of a block. warps: most on a processor at once, and of
what there is too little for more. in flight: KiB that the blocks on a processor ask for at once.
bytes, least: moved for each edge, and the fewest possible; by warps: what several warps of a block
read counted as often. widths: narrowest and widest access of long rows, in bytes. instructions: of
warps, for each edge of a full tile. barriers: for each tile. memory, issue: predicted milliseconds
for the bytes and for the instructions on {machine}, {graph}: a prediction, not a timing."""


@dataclass(frozen=True)
class Row:
    """One kernel in the table.

    Attributes:
        layer: Name of the layer.
        size: Its heads and channels.
        dtype: Element type of its inputs.
        task: The kernel and what it must move.
        inspection: What its code says.
        prediction: How long it takes at the least; ``None`` where that is not known.
        failures: What is wrong with it.
    """

    layer: str
    size: str
    dtype: str
    task: Task
    inspection: Inspection
    prediction: Prediction | None
    failures: list[str]

    def cells(self) -> list[str]:
        """One text for each of ``COLUMNS``."""
        seen, used = self.inspection, self.inspection.resources
        fit, least = seen.occupancy, self.task.minimum
        is_walk = bool(seen.edges)
        instructions = sum(loop.instructions for loop in seen.loops) * seen.kernel.num_warps
        known = bool(seen.loops)
        return [
            self.layer,
            self.size,
            self.dtype,
            seen.architecture,
            seen.kernel.name,
            f"{seen.edges} x {seen.kernel.num_warps}" if is_walk else "",
            str(used.registers),
            str(used.local_loads + used.local_stores),
            str(seen.shared),
            "" if fit is None else str(fit.warps),
            "" if fit is None else fit.limit,
            "" if fit is None or not is_walk else f"{fit.blocks * seen.per_tile / 1024:.0f}",
            f"{sum(seen.moved.values()):.0f}" if is_walk else "",
            "" if least is None else str(least.per_edge),
            f"{sum(seen.requested.values()):.0f}" if is_walk else "",
            self._widths(),
            f"{instructions / seen.edges:.0f}" if known else "",
            str(sum(loop.barriers for loop in seen.loops)) if known else "",
            "" if self.prediction is None else f"{1e3 * self.prediction.memory:.2f}",
            "" if self.prediction is None or not known else f"{1e3 * self.prediction.issue:.2f}",
            "; ".join(self.failures) or "ok",
        ]

    def _widths(self) -> str:
        seen = self.inspection
        long = [w for name, own in seen.widths.items() if seen.moved[name] >= LONG_ROW for w in own]
        return "-".join(str(width) for width in sorted({min(long), max(long)})) if long else ""


def table(rows: Sequence[Row], *, as_markdown: bool = False) -> str:
    """The rows as text, or as a table of Markdown."""
    cells = [list(COLUMNS), *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    numbers = list(COLUMNS.values())
    lines = [
        [
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(line, widths, numbers, strict=True)
        ]
        for line in cells
    ]
    if not as_markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = [
        "-" * (width - 1) + (":" if is_number else "-")
        for width, is_number in zip(widths, numbers, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
