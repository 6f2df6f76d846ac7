"""Calls the hand-written GATv2 attention, and makes a contestant of it."""

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.peers.contestant import Contestant, Weights
from graphattn import Edges
from graphattn.kernels.cpp import build
from graphattn.kernels.cpp.exponential import EXPONENTIAL
from graphattn.kernels.cpp.memory import empty

HEADS, CHANNELS = 8, 16
NUM_CHUNKS = 64


@dataclass(frozen=True)
class Structure:
    """The edges grouped by both ends; all contiguous, and in range.

    Attributes:
        by_target: Edges into each target: offsets ``(N + 1,)`` int64, sources ``(E,)`` int32.
        by_source: Edges out of each source: offsets, targets.
        places: Where each edge by source stands by target, ``(E,)``, int32.
        target_chunks: Bounds of runs of targets with about as many edges, int64.
        source_chunks: Bounds of runs of sources.
    """

    by_target: tuple[Tensor, Tensor]
    by_source: tuple[Tensor, Tensor]
    places: Tensor
    target_chunks: Tensor
    source_chunks: Tensor

    @classmethod
    def of(cls, edges: Edges) -> "Structure":
        """The structure of ``edges``, int32 throughout."""
        by_target, by_source = edges.by_target, edges.by_source
        if by_target.neighbor.dtype != torch.int32:
            raise ValueError(f"edges must fit int32, got {edges}")
        place = torch.empty_like(by_target.order)
        place[by_target.order.long()] = torch.arange(edges.num_edges, dtype=torch.int32)
        return cls(
            (by_target.ptr, by_target.neighbor),
            (by_source.ptr, by_source.neighbor),
            place[by_source.order.long()],
            _chunks(by_target.ptr),
            _chunks(by_source.ptr),
        )


def _chunks(ptr: Tensor) -> Tensor:
    num_rows, num_edges = ptr.shape[0] - 1, int(ptr[-1])
    goals = torch.arange(1, NUM_CHUNKS) * num_edges // NUM_CHUNKS
    cuts = torch.searchsorted(ptr, goals).clamp(max=num_rows)
    return torch.cat([cuts.new_zeros(1), cuts, cuts.new_full((1,), num_rows)])


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, structure: Structure, source: Tensor, target: Tensor, attention: Tensor
    ) -> Tensor:
        out, log_sum_exp = _like(target), target.new_empty(target.shape[0], HEADS)
        given = (source, target, attention)
        chunks = structure.target_chunks
        _launch("forward", chunks, *structure.by_target, *given, out, log_sum_exp)
        ctx.structure = structure
        ctx.save_for_backward(*given, out, log_sum_exp)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        structure: Structure = ctx.structure
        source, target, attention, out, log_sum_exp = ctx.saved_tensors
        grad_out = grads[0].contiguous()
        num_edges, chunks = structure.places.shape[0], structure.target_chunks
        weights = empty((2, num_edges, HEADS), source.dtype)  # and gradients of logits
        grad_source, grad_target = _like(source), _like(target)
        partial = source.new_empty(chunks.shape[0] - 1, HEADS * CHANNELS)
        given = (source, target, attention)
        made = (*weights, grad_target, partial)
        passed = (*structure.by_target, *given, out, log_sum_exp, grad_out, *made)
        _launch("backward_by_target", chunks, *passed)
        passed = (*structure.by_source, structure.places, *given, grad_out, *weights, grad_source)
        _launch("backward_by_source", structure.source_chunks, *passed)
        return None, grad_source, grad_target, partial.sum(0).view(HEADS, CHANNELS)


def hand_written_attention(
    structure: Structure, source: Tensor, target: Tensor, attention: Tensor
) -> Tensor:
    """GATv2 attention, differentiable once.

    Args:
        structure: The edges.
        source: ``(N, 128)``, float32, contiguous.
        target: ``(N, 128)``, likewise.
        attention: ``(8, 16)``, likewise.

    Returns:
        ``(N, 128)``.

    Raises:
        ValueError: If a tensor does not fit.
    """
    sizes = (structure.by_source[0].shape[0] - 1, structure.by_target[0].shape[0] - 1)
    for name, tensor, shape in (
        ("source", source, (sizes[0], HEADS * CHANNELS)),
        ("target", target, (sizes[1], HEADS * CHANNELS)),
        ("attention", attention, (HEADS, CHANNELS)),
    ):
        if tensor.shape != shape or tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise ValueError(
                f"{name} must be {shape}, float32, contiguous, got {tuple(tensor.shape)}"
                f" {tensor.dtype} with strides {tensor.stride()}"
            )
    return _Attention.apply(structure, source, target, attention)


def hand_written(layer: str, case: Case, weights: Weights) -> Contestant:
    """The contestant."""
    if (layer, case.heads, case.channels) != ("GATv2 attention", HEADS, CHANNELS):
        raise ValueError(f"layer must be GATv2 attention with 8 x 16, got {layer} of {case}")
    attention = nn.Parameter(weights["attention"])
    return Contestant(
        [attention],
        lambda index, size: Structure.of(Edges.from_edge_index(index, size)),
        lambda x, structure, edge_attr: hand_written_attention(structure, x[0], x[1], attention),
    )


def _like(x: Tensor) -> Tensor:
    return empty(tuple(x.shape), x.dtype)


def _launch(name: str, chunks: Tensor, *tensors: Tensor) -> None:
    _library()[name](
        ctypes.c_int64(chunks.shape[0] - 1),
        ctypes.c_int(build.num_threads()),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (chunks, *tensors)),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    text = Path(__file__).with_suffix(".cpp").read_text(encoding="utf-8")
    return build.load(f"{EXPONENTIAL}\n{text}")
