"""Attention between all pairs of blocks a few queries at a time, made anew for the derivative."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.dropout import drawn_mask, dropout_draw, masked
from graphattn.dynamo import unseen
from graphattn.edges import Edges
from graphattn.kernels.cpp.fallback import is_transformed, must_be_plain
from graphattn.normalizers import (
    AdaptiveEntmax,
    Entmax,
    Entmax15,
    Normalizer,
    Sparsemax,
    Standardize,
)

# Pairs of a chunk, unless one query alone has more.
PAIRS = 1 << 18
# Those that look at one target's logits and at nothing else. ``SymmetricDegree`` needs the degrees
# of sources, which are targets of other chunks; what a normalizer of one's own needs is not known.
_BY_TARGET = (Sparsemax, Entmax15, Entmax, AdaptiveEntmax, Standardize)
_OWN = "normalizer."  # what the names of a normalizer's parameters begin with

Steps = Callable[..., dict[str, Tensor]]
Run = Callable[["Chunk", dict[str, Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Chunk:
    """Consecutive queries of blocks, with the keys of their sets.

    Attributes:
        blocks: The chunk as a structure of its own.
        queries: Which queries of the whole structure they are.
        keys: Which keys.
        pairs: Which pairs.
    """

    blocks: Blocks
    queries: slice
    keys: slice
    pairs: slice

    def rows(self, role: str) -> Any:
        """Index of what belongs to the chunk of an input, or of a result, of some role."""
        own = {"target": self.queries, "source": self.keys, "edge": self.pairs}
        return own.get(role, ...)


def chunks(blocks: Blocks, pairs: int) -> Iterator[Chunk]:
    """Cuts blocks into runs of queries; they depend on the structure alone.

    Args:
        blocks: The structure.
        pairs: How many pairs a chunk has at most, unless it has one query only.

    Yields:
        The chunks in order, at least one. Each is made anew: a structure keeps what it is asked
        for, and all of them together would keep more than the inputs.
    """
    first = blocks.by_target.ptr.cpu()  # pair of each query, (N + 1,)
    target_ptr, source_ptr = blocks.target_ptr.cpu(), blocks.source_ptr.cpu()
    start = 0
    while True:
        last = torch.searchsorted(first, first[start] + pairs, right=True) - 1
        stop = min(max(int(last), start + 1), blocks.num_targets)
        # The sets that have these queries.
        low = int(torch.searchsorted(target_ptr, start, right=True)) - 1
        high = max(int(torch.searchsorted(target_ptr, stop)), low)
        queries = target_ptr[low : high + 1].clamp(start, stop) - start
        keys = source_ptr[low : high + 1]
        yield Chunk(
            Blocks.from_ptr(queries, keys - keys[0]).to(blocks.device),
            slice(start, stop),
            slice(int(keys[0]), int(keys[-1])),
            slice(int(first[start]), int(first[stop])),
        )
        start = stop
        if start >= blocks.num_targets:
            return


def streams(edges: Edges | Blocks, normalizer: Normalizer) -> bool:
    """Whether attention is made in chunks: many pairs, and weights that go by target."""
    is_large = isinstance(edges, Blocks) and edges.num_edges > PAIRS
    return is_large and type(normalizer) in _BY_TARGET


def attend(
    steps: Steps,
    blocks: Blocks,
    inputs: Mapping[str, Any],
    roles: Mapping[str, str],
    normalizer: Normalizer,
    dropout: float,
    wanted: list[str],
) -> dict[str, Tensor]:
    """As ``Compiled.attend``; of the size of all pairs is nothing but what is asked for.

    Args:
        steps: Makes all results for a structure, from inputs, normalizer and dropout.
        blocks: The structure.
        inputs: By name, parameters of the functions among them.
        roles: Role of each input by name; parameters have none.
        normalizer: Of those that ``streams`` takes.
        dropout: Probability with which a weight is set to zero: the same ones as in one piece.
        wanted: Results that are returned.
    """
    tensors = {name: x for name, x in inputs.items() if isinstance(x, Tensor)}
    own = dict(normalizer.named_parameters()) | dict(normalizer.named_buffers())
    tensors |= {f"{_OWN}{name}": x for name, x in own.items()}
    draw, scale = dropout_draw(dropout, blocks.device)

    def run(chunk: Chunk, given: dict[str, Tensor]) -> list[Tensor]:
        state = {name: given.pop(f"{_OWN}{name}") for name in own}

        def normalize(logits: Tensor, edges: Edges) -> Tensor:
            weights: Tensor = torch.func.functional_call(normalizer, state, (logits, edges))
            return weights

        def keep(weights: Tensor) -> Tensor:
            first = chunk.pairs.start
            mask = None if draw is None else drawn_mask(draw, weights.shape, first)
            return masked(weights, mask, scale)

        parts = steps(chunk.blocks, {**inputs, **given}, normalize, keep)
        return [parts[name] for name in wanted]

    ends = ["target" if name == "output" else "edge" for name in wanted]
    return dict(zip(wanted, stream(run, blocks, tensors, roles, ends), strict=True))


@unseen  # it reads how the sets are to be cut
def stream(
    run: Run,
    blocks: Blocks,
    tensors: Mapping[str, Tensor],
    roles: Mapping[str, str],
    ends: list[str],
) -> tuple[Tensor, ...]:
    """Runs a function chunk by chunk, and once more for each chunk in the backward pass.

    Args:
        run: Gives results from a chunk and what it has of the tensors; differentiable by PyTorch.
        blocks: The structure.
        tensors: By name.
        roles: Role of each by name; a chunk sees those without one whole.
        ends: Role of each result: ``"target"`` for one row a query, ``"edge"`` for one a pair.

    Returns:
        The results of all chunks, one after another. Where the derivative is differentiated again,
        it is that of the whole, and as large; so it is inside transforms.
    """
    if is_transformed():
        own = [roles.get(name, "shared") for name in tensors]
        return tuple(_run_all(run, chunks(blocks, PAIRS), tensors, own))
    is_recorded = torch.is_grad_enabled()  # else chunks need no graphs either
    given = (x if is_recorded else x.detach() for x in tensors.values())
    found = _Stream.apply(run, blocks, tuple(tensors), roles, ends, *given)
    return tuple(found)


class _Stream(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        run: Run,
        blocks: Blocks,
        names: tuple[str, ...],
        roles: Mapping[str, str],
        ends: list[str],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.run, ctx.blocks, ctx.pairs, ctx.names, ctx.ends = run, blocks, PAIRS, names, ends
        ctx.autocast = _autocast(blocks.device)
        ctx.roles = [roles.get(name, "shared") for name in names]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        needs = ctx.needs_input_grad[5:]
        results = []
        for chunk in chunks(blocks, PAIRS):
            # Kernels of the backward pass are then compiled with those of this one.
            with torch.set_grad_enabled(any(needs)):
                given = _slices(chunk, tensors, ctx.roles, needs)
                parts = run(chunk, dict(zip(names, given, strict=True)))
            results.append([part.detach() for part in parts])
        return tuple(torch.cat(parts) for parts in zip(*results, strict=True))

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor | None) -> tuple[Any, ...]:
        tensors, needs = ctx.saved_tensors, ctx.needs_input_grad[5:]
        make = _of_the_whole if must_be_plain(*arriving) else _chunk_by_chunk
        with ExitStack() as stack:
            for kind, settings in ctx.autocast.items():
                stack.enter_context(torch.autocast(kind, **settings))
            gradients = make(ctx, tensors, needs, arriving)
        return None, None, None, None, None, *gradients


def _chunk_by_chunk(
    ctx: Any, tensors: tuple[Tensor, ...], needs: tuple[bool, ...], arriving: tuple[Any, ...]
) -> list[Tensor | None]:
    totals = [
        torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
        if is_needed
        else None
        for x, is_needed in zip(tensors, needs, strict=True)
    ]
    for chunk in chunks(ctx.blocks, ctx.pairs):
        with torch.enable_grad():
            given = _slices(chunk, tensors, ctx.roles, needs)
            parts = ctx.run(chunk, dict(zip(ctx.names, given, strict=True)))
        own = [None if x is None else x[chunk.rows(end)] for x, end in _both(arriving, ctx.ends)]
        found = iter(_gradients(parts, own, given, needs))
        for total, role in zip(totals, ctx.roles, strict=True):
            gradient = None if total is None else next(found)
            if total is not None and gradient is not None:
                total[chunk.rows(role)] += gradient
    return [None if total is None else total.to(x.dtype) for total, x in _both(totals, tensors)]


def _of_the_whole(
    ctx: Any, tensors: tuple[Tensor, ...], needs: tuple[bool, ...], arriving: tuple[Any, ...]
) -> list[Tensor | None]:
    is_recorded, given = torch.is_grad_enabled(), dict(zip(ctx.names, tensors, strict=True))
    with torch.enable_grad():
        parts = _run_all(ctx.run, chunks(ctx.blocks, ctx.pairs), given, ctx.roles)
    found = iter(_gradients(parts, arriving, tensors, needs, create_graph=is_recorded))
    return [next(found) if is_needed else None for is_needed in needs]


def _run_all(
    run: Run, every: Iterable[Chunk], tensors: Mapping[str, Tensor], roles: list[str]
) -> list[Tensor]:
    """The results of all chunks in a graph that has all of them."""
    results = []
    for chunk in every:
        given = [x[chunk.rows(role)] for x, role in _both(tensors.values(), roles)]
        results.append(run(chunk, dict(zip(tensors, given, strict=True))))
    return [torch.cat(own) for own in zip(*results, strict=True)]


def _slices(
    chunk: Chunk, tensors: tuple[Tensor, ...], roles: list[str], needs: tuple[bool, ...]
) -> list[Tensor]:
    """What a chunk has of the tensors, as inputs of a graph of its own."""
    return [
        x[chunk.rows(role)].detach().requires_grad_(is_needed)
        for x, role, is_needed in zip(tensors, roles, needs, strict=True)
    ]


def _gradients(
    parts: Any, arriving: Any, inputs: Any, needs: tuple[bool, ...], create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Gradients of the inputs that need one, in order."""
    wanted = [x for x, is_needed in _both(inputs, needs) if is_needed]
    known = [(x, g) for x, g in _both(parts, arriving) if g is not None and x.requires_grad]
    if not known:
        return (None,) * len(wanted)
    results, given = zip(*known, strict=True)
    return torch.autograd.grad(results, wanted, given, allow_unused=True, create_graph=create_graph)


def _autocast(device: torch.device) -> dict[str, dict[str, Any]]:
    """Autocast as it is now; functions are recorded under that of the CPU."""
    return {
        kind: {
            "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind),
        }
        for kind in {"cpu", device.type}
    }


def _both(one: Any, another: Any) -> Any:
    return zip(one, another, strict=True)
