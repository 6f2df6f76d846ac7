"""Checks of whole layers: against PyTorch Geometric's, and under all that a GPU does besides."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch_geometric.nn
from torch import Tensor, nn

import graphattn.nn
from benchmarks.cases import LAYERS
from benchmarks.gpu.checks import Check, CheckError, SkippedError, compare, compare_bits, wide
from benchmarks.gpu.machine import Machine
from benchmarks.gpu.programs import plain
from benchmarks.graphs import with_hubs
from graphattn import EdgeAttention, Edges
from graphattn.kernels.triton.launch import Kernel

_PASSES = ["forward", "backward_by_target", "backward_by_source"]
_BUSY = 4096  # rows of the products that keep a stream busy
_ELEMENTS = 2**31  # of a tensor, from which on their positions take more than 32 bits


@dataclass
class Step:
    """A layer with a graph; called, it runs forward and backward.

    Attributes:
        layer: The layer, ours or PyTorch Geometric's.
        x: ``(N, F)``.
        edge_index: ``(2, E)``.
        edge_attr: ``(E, D)``, or None.
        cotangent: Of the output.
    """

    layer: nn.Module
    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    cotangent: Tensor

    @classmethod
    def of(cls, machine: Machine, name: str, edge_channels: int | None = None) -> "Step":
        """A step of our layer, on the machine; the same each time."""
        nodes, edges, heads, channels = (
            (6, 18, 2, 4) if machine.is_interpreted else (2000, 30_000, 8, 16)
        )
        torch.manual_seed(0)
        layer = getattr(graphattn.nn, name)(8, channels, heads, edge_dim=edge_channels)
        generator = torch.Generator().manual_seed(0)
        edge_index = with_hubs(nodes, edges, generator)
        edge_attr = None
        if edge_channels:
            edge_attr = torch.randn(edges, edge_channels, generator=generator)
        x = torch.randn(nodes, 8, generator=generator)
        cotangent = torch.randn(nodes, heads * channels, generator=generator)
        step = cls(layer, x, edge_index, edge_attr, cotangent)
        return step.to(machine.device, torch.float32)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Step":
        """The same elsewhere, or in another type; the layer itself is moved."""
        x, cotangent = (t.detach().to(device, dtype) for t in (self.x, self.cotangent))
        edge_attr = self.edge_attr
        if edge_attr is not None:
            edge_attr = edge_attr.detach().to(device, dtype).requires_grad_()
        layer = self.layer.to(device, dtype)
        return Step(layer, x.requires_grad_(), self.edge_index.to(device), edge_attr, cotangent)

    def __call__(self) -> dict[str, Tensor]:
        """The output, and the gradients of features and parameters."""
        given = {"x": self.x} if self.edge_attr is None else {"x": self.x, "edges": self.edge_attr}
        wanted = given | dict(self.layer.named_parameters())
        out = self.layer(self.x, self.edge_index, self.edge_attr)
        found = torch.autograd.grad(out, list(wanted.values()), self.cotangent)
        gradients = dict(zip(wanted, found, strict=True))
        return {"output": out.detach()} | {f"gradient of {n}": g for n, g in gradients.items()}


def layer_checks(machine: Machine) -> Iterator[Check]:
    """The checks; those that no interpreter can run are skipped there."""
    for name in LAYERS:
        for edge_channels in (None, 3):
            features = "" if edge_channels is None else ", edge features"
            run = partial(_against_peer, machine, name, edge_channels)
            yield Check(f"{name} against PyG's in float64{features}", run)
    checks: dict[str, Callable[[Machine, str], str]] = {
        "takes Triton's kernels": _launches,
        "in a CUDA graph": _in_graph,
        "on another stream": _on_other_stream,
        "on a second GPU": _on_second_device,
        "under torch.compile": _under_compile,
    }
    for title, check in checks.items():
        for name in LAYERS:
            yield Check(f"{name} {title}", partial(check, machine, name))
    yield Check("more elements than 32 bits count", partial(_many_elements, machine))


def _against_peer(machine: Machine, name: str, edge_channels: int | None) -> str:
    step = Step.of(machine, name, edge_channels)
    ours = step()
    layer = step.layer
    peer = getattr(torch_geometric.nn, name)(
        8, layer.out_channels, layer.heads, edge_dim=edge_channels
    )
    peer.load_state_dict(layer.state_dict())
    theirs = Step(peer, step.x, step.edge_index, step.edge_attr, step.cotangent)
    return compare(ours, theirs.to(machine.device, torch.float64)(), torch.float32)


def _launches(machine: Machine, name: str) -> str:
    step = Step.of(machine, name)
    with _launched() as kernels:
        step()
    if kernels != _PASSES:
        raise CheckError(f"launches {kernels}, and must launch {_PASSES}")
    return ", ".join(kernels)


@contextmanager
def _launched() -> Iterator[list[str]]:
    """Names of the passes that run within."""
    names: list[str] = []
    launch = Kernel.__call__

    def counted(kernel: Kernel, *arguments: Any) -> None:
        names.append(kernel.made.name)
        launch(kernel, *arguments)

    with patch.object(Kernel, "__call__", counted):
        yield names


def _needs_gpu(machine: Machine) -> None:
    if machine.is_interpreted:
        raise SkippedError("needs a GPU")


def _in_graph(machine: Machine, name: str) -> str:
    _needs_gpu(machine)
    step = Step.of(machine, name)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # kernels compiled, structure built
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        step.x.neg_().add_(0.5)  # what is replayed must see it
    graph.replay()
    replayed = {name: x.clone() for name, x in captured.items()}
    return compare(replayed, wide(step()), torch.float32)


def _on_other_stream(machine: Machine, name: str) -> str:
    _needs_gpu(machine)
    step = Step.of(machine, name)
    expected, late = step(), step.x.detach().clone()
    busy = torch.randn(_BUSY, _BUSY, device=machine.device)
    with torch.no_grad():
        step.x.zero_()
    machine.wait()
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        for _ in range(20):
            busy = (busy @ busy).tanh()
        with torch.no_grad():
            step.x.copy_(late)  # a kernel on any other stream would still see zeros
        found = step()
    machine.wait()
    return compare(found, wide(expected), torch.float32)


def _on_second_device(machine: Machine, name: str) -> str:
    _needs_gpu(machine)
    if torch.cuda.device_count() < 2:
        raise SkippedError("needs two GPUs")
    other = torch.device("cuda", (torch.cuda.current_device() + 1) % torch.cuda.device_count())
    step = Step.of(machine, name)
    expected = wide(step())
    moved = step.to(other, torch.float32)()
    torch.cuda.synchronize(other)
    elsewhere = {str(x.device) for x in moved.values() if x.device != other}
    if elsewhere:
        raise CheckError(f"results must be on {other}, and some are on {elsewhere}")
    # It need not be a GPU of the same kind, whose bits would be the same.
    back = {name: x.to(machine.device) for name, x in moved.items()}
    return compare(back, expected, torch.float32)


def _under_compile(machine: Machine, name: str) -> str:
    _needs_gpu(machine)
    step = Step.of(machine, name)
    expected = wide(step())
    parameters = dict(step.layer.named_parameters())
    compiled = torch.compile(step.layer, fullgraph=True)
    out = compiled(step.x, step.edge_index)
    gradients = torch.autograd.grad(out, [step.x, *parameters.values()], step.cotangent)
    names = [f"gradient of {name}" for name in ("x", *parameters)]
    actual = {"output": out.detach(), **dict(zip(names, gradients, strict=True))}
    return compare(actual, expected, torch.float32)


def product(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1)


def _many_elements(machine: Machine) -> str:
    """A table of sources that ends beyond 2^31 elements, of which the last rows alone are used."""
    heads, channels = (2, 4) if machine.is_interpreted else (8, 16)
    num_used, num_targets = (4, 3) if machine.is_interpreted else (1000, 50)
    num_rows = 9 if machine.is_interpreted else _ELEMENTS // (heads * channels) + num_used
    if not machine.is_interpreted:
        free, _ = torch.cuda.mem_get_info(machine.device)
        needed = 6 * 2 * _ELEMENTS  # table, gradient, masks and what allocators leave unused
        if free < needed:
            raise SkippedError(f"needs {needed / 1e9:.0f} GB of free memory, has {free / 1e9:.0f}")
    attend = EdgeAttention(
        product, plain, target=["query"], source=["key", "value"], backend="triton"
    )
    generator = torch.Generator().manual_seed(0)
    used = torch.randn(num_used, heads, channels, generator=generator)
    query = torch.randn(num_targets, heads, channels, generator=generator)
    index = torch.randint(num_targets, (2, 4 * num_used), generator=generator)
    index[0] = torch.randint(num_used, (4 * num_used,), generator=generator)
    used, query = (x.to(machine.device, torch.bfloat16) for x in (used, query))
    index = index.to(machine.device)
    found = []
    for first in (num_rows - num_used, 0):
        table = used.new_zeros(first + num_used, heads, channels)
        table[first:] = used
        table.requires_grad_()
        moved = index + torch.tensor([[first], [0]], device=machine.device)
        edges = Edges.from_edge_index(moved, first + num_used, num_targets)
        out = attend(edges, query=query, key=table, value=table)
        (gradient,) = torch.autograd.grad(out, table, torch.ones_like(out))
        others = int(gradient[:first].count_nonzero())
        if others:
            raise CheckError(f"{others} gradients of rows that no edge comes from are not zero")
        found.append({"output": out.detach(), "gradient": gradient[first:].clone()})
        del table, gradient
    return f"{num_rows * heads * channels:,} elements: {compare_bits(*found)}"
