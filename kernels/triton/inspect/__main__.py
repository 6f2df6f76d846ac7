"""The gate for kernels on GPUs: compiles them, without a GPU, and reads what came of it.

python -m graphattn.kernels.triton.inspect --layers GATv2 --sizes 8x16 --architectures sm_90
"""

import argparse
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from graphattn.kernels.triton.inspect.compilation import TARGETS
from graphattn.kernels.triton.inspect.gate import failures
from graphattn.kernels.triton.inspect.inspection import inspected
from graphattn.kernels.triton.inspect.kernels import Task, tasks
from graphattn.kernels.triton.inspect.prediction import H100, REFERENCE, predicted
from graphattn.kernels.triton.inspect.programs import LAYERS
from graphattn.kernels.triton.inspect.report import LEGEND, Row, table

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MOST = 512  # H * C, up to which the gate holds


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table.

    Args:
        arguments: As on the command line, which is taken without.

    Returns:
        The status to exit with: 1 if a kernel fails the gate.
    """
    given = _parser().parse_args(arguments)
    rows = list(_rows(given))
    print(table(rows, as_markdown=given.markdown))
    graph = f"{REFERENCE.num_nodes:,} nodes and {REFERENCE.num_edges:,} edges"
    print("\n" + LEGEND.format(machine=H100.name, graph=graph))
    print("\n".join(_sums(rows)))
    return int(any(row.failures for row in rows))


def _rows(given: argparse.Namespace) -> Iterator[Row]:
    for layer, size, dtype in itertools.product(given.layers, given.sizes, given.dtypes):
        heads, channels = map(int, size.split("x"))
        program = LAYERS[layer].program(heads, channels, _TYPES[dtype])
        for task in tasks(program, REFERENCE.degree):
            if given.passes and task.kernel.name not in given.passes:
                continue
            task = _with_tile(task, given.edges, given.warps)
            for architecture in given.architectures:
                seen = inspected(task.kernel, architecture)
                is_forward = task.kernel.name == "forward"
                held = heads * channels <= _MOST
                found = failures(seen, task.minimum, is_forward=is_forward) if held else []
                prediction = None
                if task.minimum and seen.edges and architecture == H100.architecture:
                    prediction = predicted(seen, task.minimum, task.end, REFERENCE, H100)
                yield Row(layer, size, dtype, task, seen, prediction, found)


def _with_tile(task: Task, edges: int | None, warps: int | None) -> Task:
    """The kernel with other tiles than the library would take."""
    kernel = task.kernel
    if task.minimum is None:
        return task
    if edges is not None:
        kernel = replace(kernel, constants={**kernel.constants, "BLOCK": edges})
    if warps is not None:
        kernel = replace(kernel, num_warps=warps)
    return replace(task, kernel=kernel)


def _sums(rows: list[Row]) -> Iterator[str]:
    """What is predicted for all passes of a layer together."""
    by_layer: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.prediction is not None:
            by_layer.setdefault((row.layer, row.size, row.dtype), []).append(row)
    for key, own in by_layer.items():
        seconds = {row.task.kernel.name: row.prediction.seconds for row in own if row.prediction}
        whole = sum(seconds.values())
        forward = f"{1e3 * seconds['forward']:.2f} ms forward, " if "forward" in seconds else ""
        yield (
            f"predicted for the attention of {' '.join(key)} on {H100.name}: {forward}"
            f"{1e3 * whole:.2f} ms for {', '.join(seconds)}"
        )


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"a size must be heads x channels, 8x16, got {text!r}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m graphattn.kernels.triton.inspect", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--sizes", nargs="+", type=_size, default=["1x64", "8x16", "8x64"])
    parser.add_argument("--dtypes", nargs="+", choices=_TYPES, default=["float32", "bfloat16"])
    parser.add_argument("--architectures", nargs="+", choices=TARGETS, default=["sm_90"])
    parser.add_argument("--passes", nargs="+", help="only kernels of these names")
    parser.add_argument("--edges", type=int, help="edges of a tile, in place of the library's")
    parser.add_argument("--warps", type=int, help="warps of a block, likewise")
    parser.add_argument("--markdown", action="store_true", help="print a table of Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
