"""Runs contestants on request: one process for each environment, told what to do by line.

    python -m benchmarks.worker

Requests and answers are lines of JSON on standard input and output; ``harness.Worker`` speaks them.
Only one worker computes at a time.
"""

import importlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Case, Inputs
from benchmarks.peers import PEERS
from benchmarks.peers.contestant import Contestant
from benchmarks.sets.cases import SetCase

PACKAGES = ("graphattn", "torch", "torch_geometric", "torch_scatter", "dgl")
Key = tuple[str, str]
WARM_STEPS, WARM_SECONDS = 5, 1.0


@dataclass
class Running:
    """A contestant ready to be timed on a case."""

    case: Case | SetCase
    contestant: Contestant
    batches: list[Inputs]
    structures: list[Any]
    cotangents: list[Tensor]
    count: int = 0

    def step(self) -> tuple[float, float]:
        """Seconds of one forward pass, and of it with the backward pass."""
        at = self.count % len(self.batches)
        self.count += 1
        batch, structure, cotangent = self.batches[at], self.structures[at], self.cotangents[at]
        edge_index = batch.edge_index.clone() if self.case.fresh else batch.edge_index
        start = time.perf_counter()
        if self.case.fresh:
            structure = self.contestant.prepare(edge_index, self.case.num_nodes)
        out = self.contestant.call(batch.x, structure, batch.edge_attr)
        middle = time.perf_counter()
        torch.autograd.grad(out, [*batch.x, *self.contestant.parameters], cotangent)
        return middle - start, time.perf_counter() - start

    def iterate(self) -> tuple[float, float]:
        """Seconds a step of both kinds, over the case's repeats."""
        forward = training = 0.0
        for _ in range(self.case.repeats):
            first, whole = self.step()
            forward, training = forward + first, training + whole
        return forward / self.case.repeats, training / self.case.repeats

    def checksum(self) -> list[float]:
        """Of the output and of the gradients of the node features: peers must agree."""
        sums = []
        for batch, structure, cotangent in zip(
            self.batches, self.structures, self.cotangents, strict=True
        ):
            out = self.contestant.call(batch.x, structure, batch.edge_attr)
            for tensor in (out, *torch.autograd.grad(out, batch.x, cotangent)):
                sums.append(float(tensor.detach().double().abs().sum()))
        return sums


class Worker:
    """Answers requests; what it prepared for a case is kept until it is told to forget."""

    def __init__(self) -> None:
        self.inputs: dict[str, list[Inputs]] = {}
        self.running: dict[Key, Running] = {}

    def describe(self) -> dict[str, Any]:
        """Versions of what is installed here, and the number of threads."""
        versions = {"python": platform.python_version()}
        for name in PACKAGES:
            try:
                module = importlib.import_module(name)
            except ImportError:
                continue
            versions[name] = getattr(module, "__version__", "")
        return {"versions": versions, "threads": torch.get_num_threads()}

    def weights(self, case: dict[str, Any], layer: str, path: str) -> None:
        """Writes the weights that every contestant of a layer takes."""
        shape = _case(case)
        home = "benchmarks.sets.layers" if isinstance(shape, SetCase) else "benchmarks.peers.pyg"
        _imported(f"{home}:write_weights")(layer, shape, Path(path))

    def prepare(self, case: dict[str, Any], layer: str, peer: str, path: str) -> dict[str, Any]:
        """Builds a contestant, warms it up, and gives its checksum and the seconds that took."""
        start = time.perf_counter()
        running = self.running[layer, peer] = self._ready(_case(case), layer, peer, path)
        checksum = running.checksum()
        for _ in range(WARM_STEPS):
            if time.perf_counter() - start > WARM_SECONDS:
                break  # long steps are warm after the one that gave the checksum
            running.step()
        return {"checksum": checksum, "seconds": time.perf_counter() - start}

    def first_calls(self, case: dict[str, Any], layer: str, peer: str, path: str) -> list[float]:
        """Seconds of the first training step of a contestant, and of the second."""
        running = self._ready(_case(case), layer, peer, path)
        return [running.step()[1], running.step()[1]]

    def _ready(self, shape: Case | SetCase, layer: str, peer: str, path: str) -> Running:
        build = PEERS[peer].build_on_sets if isinstance(shape, SetCase) else PEERS[peer].build
        contestant: Contestant = _imported(build)(layer, shape, torch.load(path, weights_only=True))
        for parameter in contestant.parameters:
            parameter.requires_grad_()
        if shape.name not in self.inputs:
            self.inputs[shape.name] = shape.inputs()
        batches = self.inputs[shape.name]
        for batch in batches:
            for x in batch.x:
                x.requires_grad_()
        structures = [contestant.prepare(b.edge_index, shape.num_nodes) for b in batches]
        generator = torch.Generator().manual_seed(1)
        size = shape.output_shape(layer)
        cotangents = [torch.randn(size, generator=generator) for _ in batches]
        return Running(shape, contestant, batches, structures, cotangents)

    def iterate(self, layer: str, peer: str) -> tuple[float, float]:
        """Seconds of a forward pass, and of one with its backward pass."""
        return self.running[layer, peer].iterate()

    def peak(self, layer: str, peer: str) -> int:
        """Bytes by which memory grows at most in a training step, above what is held before it."""
        return _growth(self.running[layer, peer].step)

    def second_peak(self, made_by: str, case: dict[str, Any], peer: str) -> int:
        """The same of the second step of a contestant that a function of this name makes."""
        contestant: Any = _imported(made_by)(case, peer)
        contestant.step()
        return _growth(contestant.step)

    def forget(self) -> None:
        """Frees all that was prepared."""
        self.inputs.clear()
        self.running.clear()
        torch.compiler.reset()


def _case(plain: dict[str, Any]) -> Case | SetCase:
    return SetCase.from_plain(plain) if "num_sets" in plain else Case.from_plain(plain)


def _imported(name: str) -> Callable[..., Any]:
    """A function of a module that not every environment can import."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _growth(step: Callable[[], object]) -> int:
    """Bytes by which memory grows at most, above what is held before."""
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status must have a line {name}, got none")


def main(arguments: Sequence[str]) -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(int(arguments[0]))
    if "--hide-torch-scatter" in arguments:
        # PyTorch Geometric takes it as soon as it can be imported.
        sys.modules["torch_scatter"] = None  # type: ignore[assignment]
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: Any = {"answer": getattr(worker, request.pop("do"))(**request)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
