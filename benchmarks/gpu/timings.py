"""Times layers and their peers in turn, A B C A B C, in one process and by the machine's clock."""

import importlib
import importlib.util
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import GROUPS as ALL_GROUPS
from benchmarks.cases import REFERENCE, Case, Inputs
from benchmarks.gpu.checks import one_line
from benchmarks.gpu.machine import Machine
from benchmarks.harness import Environment, Harness, check_agreement
from benchmarks.peers import PEERS
from benchmarks.peers.contestant import Contestant, Weights
from benchmarks.peers.pyg import write_weights
from benchmarks.worker import Running

ROUNDS = 20
WARM_STEPS = 5
_HALF = replace(REFERENCE, name="bfloat16")
# Those of the benchmarks on the CPU that need no C++, and the large graph in half precision.
GROUPS: dict[str, tuple[Case, ...]] = {
    "reference": (REFERENCE,),
    "bfloat16": (_HALF,),
    **{
        name: ALL_GROUPS[name]
        for name in ("cold", "cora", "molecules", "tiny", "stars", "width", "growth", "custom")
    },
}
Key = tuple[str, str]  # layer and peer
Result = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What came of a case.

    Attributes:
        results: One mapping for each contestant, as ``Harness.measure`` gives them.
        failures: Those that failed: ``case``, ``layer``, ``peer``, ``error`` and ``trace``.
    """

    results: list[Result]
    failures: list[Result]


def cases_of(group: str, machine: Machine, *, is_quick: bool) -> tuple[Case, ...]:
    """The cases of a group, as large as the machine and the haste allow."""
    cases = GROUPS[group]
    if machine.is_interpreted:  # where a row takes milliseconds
        return (_tiny(cases[0]),)
    return tuple(case.small() for case in cases) if is_quick else cases


def measure(
    machine: Machine,
    case: Case,
    peers: Sequence[str] | None,
    rounds: int,
    say: Callable[[str], None],
) -> Measured:
    """Times the contestants of a case in turn; one that fails is left out, the others go on.

    Args:
        machine: Where.
        case: The shape; the one called ``"bfloat16"`` has that element type.
        peers: Whom to time, of the case's peers; all that are there if not given.
        rounds: Iterations of each.
        say: Told what goes on.
    """
    keys = _contestants(case, peers, machine)
    with warnings.catch_warnings(action="ignore"):  # of peers, of deprecated parts of PyTorch
        turns = _Turns(machine, case, say)
        for key in keys:
            turns.attempt(key, turns.prepare)
        for key in list(turns.running):
            turns.attempt(key, turns.agree)
        for _ in range(rounds):
            for key in list(turns.running):
                turns.attempt(key, turns.iterate)
        for key in list(turns.running) if case.has_peak else ():
            turns.attempt(key, turns.peak)
    torch.compiler.reset()
    measured = Measured([turns.results[key] for key in turns.running], turns.failures)
    for result in measured.results:
        forward, training = (1e3 * statistics.median(result[k]) for k in ("forward", "training"))
        say(
            f"{case.name}: {result['layer']:16} {result['peer']:12} {forward:9.3f} ms forward,"
            f" {training:9.3f} ms with backward"
        )
    return measured


@dataclass(kw_only=True)
class _OnMachine(Running):
    machine: Machine

    def step(self) -> tuple[float, float]:
        at = self.count % len(self.batches)
        self.count += 1
        batch, structure, cotangent = self.batches[at], self.structures[at], self.cotangents[at]
        edge_index = batch.edge_index.clone() if self.case.fresh else batch.edge_index
        self.machine.wait()  # until nothing of another contestant is left to do
        start = self.machine.now()
        if self.case.fresh:
            structure = self.contestant.prepare(edge_index, self.case.num_nodes)
        out = self.contestant.call(batch.x, structure, batch.edge_attr)
        middle = self.machine.now()
        torch.autograd.grad(out, [*batch.x, *self.contestant.parameters], cotangent)
        end = self.machine.now()
        return self.machine.seconds(start, middle), self.machine.seconds(start, end)


class _Turns:
    """The contestants of a case, and what they have shown so far."""

    def __init__(self, machine: Machine, case: Case, say: Callable[[str], None]) -> None:
        self.machine, self.case, self.say = machine, case, say
        self.dtype = torch.bfloat16 if case.name == _HALF.name else torch.float32
        self.batches = [self._moved(batch) for batch in case.inputs()]
        self.running: dict[Key, _OnMachine] = {}
        self.results: dict[Key, Result] = {}
        self.failures: list[Result] = []

    def attempt(self, key: Key, what: Callable[[Key], None]) -> None:
        """Does something with a contestant, or leaves it out from here on."""
        layer, peer = key
        try:
            what(key)
        except Exception as error:
            self.say(f"{self.case.name}: {layer} of {peer} FAILED: {one_line(error)}")
            kept = {"case": self.case.name, "layer": layer, "peer": peer, "error": one_line(error)}
            self.failures.append({**kept, "trace": traceback.format_exc()})
            self.running.pop(key, None)

    def prepare(self, key: Key) -> None:
        """Builds a contestant and warms it up."""
        (layer, peer), start = key, time.perf_counter()
        running = self._ready(layer, peer)
        result: Result = {"case": self.case.plain(), "layer": layer, "peer": peer}
        result |= {"checksum": running.checksum(), "forward": [], "training": [], "peak": None}
        for _ in range(0 if self.machine.is_interpreted else WARM_STEPS):
            running.step()
        result["warm_up"] = time.perf_counter() - start
        self.running[key], self.results[key] = running, result
        self.say(f"{self.case.name}: {layer} of {peer} is ready after {result['warm_up']:.1f} s")

    def agree(self, key: Key) -> None:
        """Refuses one that computes something else than PyTorch Geometric, or than the first."""
        if self.dtype != torch.float32:
            return  # peers sum in half precision, too, and are off by more than differs
        own = {peer: r for (layer, peer), r in self.results.items() if layer == key[0]}
        check_agreement([own.get("pyg", next(iter(own.values()))), self.results[key]])

    def iterate(self, key: Key) -> None:
        """Takes a sample."""
        forward, training = self.running[key].iterate()
        self.results[key]["forward"].append(forward)
        self.results[key]["training"].append(training)

    def peak(self, key: Key) -> None:
        """Measures the memory of a step."""
        self.results[key]["peak"] = self.machine.peak(self.running[key].step)

    def _moved(self, batch: Inputs) -> Inputs:
        device, edge_attr = self.machine.device, batch.edge_attr
        x = tuple(own.to(device, self.dtype).requires_grad_() for own in batch.x)
        if edge_attr is not None:
            edge_attr = edge_attr.to(device, self.dtype)
        return Inputs(x, batch.edge_index.to(device), edge_attr)

    def _ready(self, layer: str, peer: str) -> _OnMachine:
        case, device = self.case, self.machine.device
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pt"
            write_weights(layer, case, path)  # the same for all
            weights = torch.load(path, weights_only=True)
        module, _, function = PEERS[peer].build.partition(":")
        build: Callable[[str, Case, Weights], Contestant]
        build = getattr(importlib.import_module(module), function)
        contestant = build(layer, case, weights)
        for parameter in contestant.parameters:
            parameter.data = parameter.data.to(device, self.dtype)  # as `nn.Module.to` does it
            parameter.requires_grad_()
        structures = [contestant.prepare(b.edge_index, case.num_nodes) for b in self.batches]
        generator = torch.Generator().manual_seed(1)
        shape = (case.num_nodes, case.heads * case.channels)
        cotangents = [
            torch.randn(shape, generator=generator).to(device, self.dtype) for _ in self.batches
        ]
        return _OnMachine(
            case, contestant, self.batches, structures, cotangents, machine=self.machine
        )


def _tiny(case: Case) -> Case:
    graph = "uniform" if case.graph == "molecules" else case.graph  # a molecule has 25 nodes
    case = replace(case, graph=graph, num_nodes=4, num_edges=12, in_channels=8, num_batches=1)
    return replace(case, heads=2, channels=min(case.channels, 4), repeats=1, rounds=1)


def _contestants(case: Case, peers: Sequence[str] | None, machine: Machine) -> list[Key]:
    has_dgl = importlib.util.find_spec("dgl") is not None
    names = ("main", "dgl") if has_dgl else ("main",)  # all in this process
    found = Harness({name: Environment(sys.executable) for name in names}, 1).contestants(
        case, peers
    )
    if machine.is_interpreted and peers is None:
        # It would compile for the CPU, and take a minute.
        return [(layer, peer) for layer, peer in found if peer != "pyg-compile"]
    return found
