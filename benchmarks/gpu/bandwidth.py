"""Times every pass of attention by itself, and holds it to the fewest bytes that it can move."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.cases import REFERENCE, Case
from benchmarks.gpu.machine import Bandwidth, Machine
from benchmarks.gpu.programs import make_input
from benchmarks.gpu.timings import WARM_STEPS
from benchmarks.graphs import GRAPHS
from graphattn import EdgeAttention, Edges
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.kernels.triton.inspect.kernels import tasks
from graphattn.kernels.triton.inspect.minimum import Minimum
from graphattn.kernels.triton.launch import Kernel
from graphattn.nn.convolutions import gat_conv, gatv2_conv, transformer_conv

# The layers' attention, and its inputs without edge features.
_ATTENTIONS: dict[str, tuple[EdgeAttention, tuple[str, ...], dict[str, float]]] = {
    "GAT": (
        gat_conv.attend,
        ("target_logit", "source_logit", "source"),
        {"negative_slope": 0.2},
    ),
    "GATv2": (
        gatv2_conv.attend,
        ("target", "source", "attention"),
        {"negative_slope": 0.2},
    ),
    "Transformer": (transformer_conv.attend, ("query", "key", "value"), {}),
}
_DTYPES = (torch.float32, torch.bfloat16)
_TRY = Case("a try", "with hubs", 4, 12, heads=2, channels=4)

Result = dict[str, Any]


def measure_passes(
    machine: Machine,
    bandwidth: Bandwidth,
    rounds: int,
    say: Callable[[str], None],
) -> list[Result]:
    """Times the passes of the layers' attention on the reference graph with self-loops.

    Args:
        machine: Where.
        bandwidth: Of its memory.
        rounds: Steps of each.
        say: Told what was found.

    Returns:
        For each pass, plain data: ``attention``, ``dtype``, ``pass``, ``seconds`` of every step,
        ``bytes`` that it must move at the least, and ``moves``, what these are.
    """
    case = _TRY if machine.is_interpreted else REFERENCE
    index = GRAPHS[case.graph](case.num_nodes, case.num_edges, torch.Generator().manual_seed(0))
    edges = Edges.from_edge_index(index.to(machine.device), case.num_nodes, self_loops=True)
    contestants = [_Contestant(name, edges, case, t) for name in _ATTENTIONS for t in _DTYPES]
    for contestant in contestants:
        for _ in range(0 if machine.is_interpreted else WARM_STEPS):
            contestant.step(machine)
    for _ in range(rounds):
        for contestant in contestants:
            for kernel, seconds in contestant.step(machine).items():
                contestant.results[kernel]["seconds"].append(seconds)
    results = [result for own in contestants for result in own.results.values()]
    for result in results:
        say(_told(result, bandwidth))
    return results


def achieved(result: Mapping[str, Any]) -> float:
    """Bytes a second of what a pass must move, by the median of its times."""
    return float(result["bytes"]) / statistics.median(result["seconds"])


def _told(result: Result, bandwidth: Bandwidth) -> str:
    name = f"{result['attention']:12}{result['dtype']:10}{result['pass']:20}"
    took, reached = statistics.median(result["seconds"]), achieved(result)
    return (
        f"{name} {1e3 * took:9.3f} ms for {result['bytes'] / 1e6:,.1f} MB ({result['moves']}):"
        f" {reached / 1e9:,.1f} GB/s, {reached / bandwidth.peak:.0%} of the peak"
    )


class _Contestant:
    """The attention of a layer with its inputs, and what its passes have taken so far."""

    def __init__(self, name: str, edges: Edges, case: Case, dtype: torch.dtype) -> None:
        self.attend, names, numbers = _ATTENTIONS[name]
        sizes = (case.heads, case.channels)
        self.leaves = [make_input(own, edges, *sizes, dtype).requires_grad_() for own in names]
        self.edges = edges
        self.inputs: dict[str, Any] = dict(zip(names, self.leaves, strict=True)) | numbers
        program = self.attend.program(**self.inputs)
        rows = {"target": edges.by_target, "source": edges.by_source}
        self.results: dict[str, Result] = {}
        for task in tasks(program, edges.num_edges / edges.num_targets):
            if task.minimum is not None:
                least, moves = _least(task.minimum, rows[task.end])
                result: Result = {"attention": name, "dtype": str(dtype).removeprefix("torch.")}
                result |= {"pass": task.kernel.name, "bytes": least, "moves": moves, "seconds": []}
                self.results[task.kernel.name] = result

    def step(self, machine: Machine) -> dict[str, float]:
        """Seconds of every pass, forward and backward."""
        machine.wait()
        machine.occupy()  # so that no pass waits for Python to launch it
        with _timed(machine) as marks:
            out: Tensor = self.attend(self.edges, **self.inputs)
            torch.autograd.grad(out, self.leaves, torch.ones_like(out))
        return {name: machine.seconds(start, stop) for name, (start, stop) in marks.items()}


@contextmanager
def _timed(machine: Machine) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Marks the beginning and the end of all passes that run within."""
    marks: dict[str, tuple[Any, Any]] = {}
    launch = Kernel.__call__

    def marked(kernel: Kernel, *arguments: Any) -> None:
        start = machine.now()
        launch(kernel, *arguments)
        marks[kernel.made.name] = (start, machine.now())

    with patch.object(Kernel, "__call__", marked):
        yield marks


def _least(minimum: Minimum, rows: Rows) -> tuple[int, str]:
    """The fewest bytes that a pass over these rows can move, and what they are."""
    num_rows, num_edges = rows.ptr.shape[0] - 1, rows.order.shape[0]
    of_edges = ", ".join([*minimum.gathered, *minimum.streamed])
    moves = f"each edge {of_edges}; each row {', '.join(minimum.per_row)}"
    return minimum.per_edge * num_edges + sum(minimum.per_row.values()) * num_rows, moves
