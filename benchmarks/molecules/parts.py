"""Where a training step on molecules spends its time, part by part.

python -m benchmarks.molecules.parts "GPS, GatedGCN"
"""

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch_geometric.data import Batch
from torch_geometric.nn import MessagePassing

import graphattn.nn
from benchmarks.molecules.cases import MOLECULE_CASES
from benchmarks.molecules.contestants import WARM, TrainingStep
from benchmarks.tables import markdown_table
from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.nn.feature_dropout import FeatureDropout

STEPS = 2  # that are profiled
_ATTENTION, _DROPOUT = "benchmarks: attention", "benchmarks: dropout"

# A part is named by operators, and by what calls them; the first that fits counts.
_OPERATORS: dict[str, tuple[str, ...]] = {
    "optimizer": ("Optimizer.",),
    "matrix products": ("aten::mm", "aten::addmm"),
    "attention": (_ATTENTION, "_EdgeAttention", "graphattn::", "GeneratedBackwardFor_graphattn"),
    "dropout": (_DROPOUT, "aten::dropout"),
    "norms": ("aten::batch_norm", "aten::native_batch_norm"),
    "embeddings": ("aten::embedding",),
}
STRUCTURES, REST, BETWEEN = "structures", "rest", "between operators"
PARTS = (*_OPERATORS, STRUCTURES, REST, BETWEEN)
# What a network needs whoever computes its attention.
SHARED = ("optimizer", "matrix products", "dropout", "norms", "embeddings")


def parts_of(contestant: TrainingStep) -> dict[str, float]:
    """Seconds of the parts of a step, means of ``STEPS``; to be asked of one that is warm.

    *matrix products* are those of linear maps; *attention* is all that depends on the edges or on
    pairs of atoms, its own dropout with it; *dropout* that of features. *Rest* is element by
    element, such as activations and sums, and clipping. A backward pass belongs to the part of the
    operator that it is of. *Structures* are timed by themselves: no operator builds them. *Between
    operators* runs Python.
    """
    _mark(contestant.network)
    coming = contestant.batches[contestant.taken : contestant.taken + STEPS]
    structures = sum(_structure_seconds(contestant, batch) for batch in coming)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        # Starting and ending a profile takes longer than a step.
        start = time.perf_counter()
        for _ in range(STEPS):
            contestant.step()
        whole = time.perf_counter() - start
    seconds = dict.fromkeys(PARTS, 0.0)
    events = profiled.events()
    for event, part in zip(events, parts_of_events(events), strict=True):
        seconds[part] += 1e-6 * event.self_cpu_time_total
    seconds[STRUCTURES] = structures
    seconds[BETWEEN] = max(0.0, whole - sum(seconds.values()))
    return {part: own / STEPS for part, own in seconds.items()}


def _mark(network: nn.Module) -> None:
    """Has attention and dropout recorded that are made of many operators."""
    for module in network.modules():
        # Hooks would send this library's layers down other paths; attributes do not.
        if isinstance(module, MessagePassing):
            module.propagate = _recorded(_ATTENTION, module.propagate)
        elif isinstance(module, graphattn.nn.GPSConv):
            module._attended = _recorded(_ATTENTION, module._attended)  # type: ignore[method-assign]
        elif isinstance(module, nn.MultiheadAttention):
            module.forward = _recorded(_ATTENTION, module.forward)  # type: ignore[method-assign]
        elif isinstance(module, FeatureDropout):
            module.forward = _recorded(_DROPOUT, module.forward)  # type: ignore[method-assign]


def _recorded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        with record_function(name):
            return method(*arguments, **named)

    return call


def _structure_seconds(contestant: TrainingStep, batch: Batch) -> float:
    """How long this library takes to build what it keeps of a batch; PyG keeps nothing."""
    if contestant.peer != "ours":
        return 0.0
    edge_index, ptr = batch.edge_index.clone(), batch.ptr.clone()
    start = time.perf_counter()
    edges = Edges.from_edge_index(edge_index, batch.num_nodes)
    _ = edges.by_target, edges.by_source
    blocks = Blocks.from_ptr(ptr)
    if any(isinstance(module, graphattn.nn.GPSConv) for module in contestant.network.modules()):
        _ = blocks.by_target, blocks.by_source
    return time.perf_counter() - start


def parts_of_events(events: Sequence[Any]) -> list[str]:
    """The part that each event of a profile is of, in their order."""
    numbered = [event for event in events if event.sequence_nr >= 0 and not _is_backward(event)]
    # Of operators inside one another, that which is differentiated is the innermost, the last.
    numbered.sort(key=lambda event: event.time_range.start)
    # Its backward pass has the same number.
    forward = {event.sequence_nr: _part(event, {}) for event in numbered}
    return [_part(event, forward) for event in events]


def _is_backward(event: Any) -> bool:
    return any(own.name.startswith("autograd::engine") for own in _with_callers(event))


def _part(event: Any, forward: dict[int, str]) -> str:
    callers = _with_callers(event)
    for part, names in _OPERATORS.items():
        if any(own.name.startswith(names) for own in callers):
            return part
    for own in callers:
        if own.name.startswith("autograd::engine") and own.sequence_nr in forward:
            return forward[own.sequence_nr]
    return REST


def _with_callers(event: Any) -> list[Any]:
    found = []
    while event is not None:
        found.append(event)
        event = event.cpu_parent
    return found


def main(arguments: Sequence[str] | None = None) -> str:
    """Prints and returns the table: milliseconds and shares of both contestants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    layers = {case.layer: case for case in MOLECULE_CASES[::-1]}
    parser.add_argument("layer", choices=list(layers))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a few molecules, to a try")
    given = parser.parse_args(arguments)

    torch.set_num_threads(given.threads)
    case = layers[given.layer].small() if given.quick else layers[given.layer]
    batches = case.batches(WARM + STEPS)
    found = {}
    for peer in case.peers:
        contestant = TrainingStep(case, batches, peer)
        for _ in range(WARM):
            contestant.step()
        found[peer] = parts_of(contestant)
    rows = [
        [part, *(_told(seconds[part], sum(seconds.values())) for seconds in found.values())]
        for part in PARTS
    ]
    text = markdown_table([case.layer, *found], rows)
    print(text)
    return text


def _told(seconds: float, whole: float) -> str:
    return f"{1e3 * seconds:.1f} ms, {100 * seconds / whole:.0f} %"


if __name__ == "__main__":
    main()
