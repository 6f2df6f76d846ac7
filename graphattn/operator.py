"""Attention over edges as PyTorch operators, for graphs of them: torch.compile, torch.export."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.blocks_in_graph import BLOCKS, blocks_of
from graphattn.compiled import call_for
from graphattn.dropout import shown_mask
from graphattn.dynamo import unseen
from graphattn.edge_list import READS, EdgeList
from graphattn.edges import Edges
from graphattn.kernels.cpp.fallback import must_be_plain, refuse_forward_mode
from graphattn.kernels.edge_attention import definition
from graphattn.kernels.edge_attention.checks import (
    check_results,
    named_inputs,
    plan_of,
    result_kind,
    result_names,
)
from graphattn.kernels.edge_attention.passes import (
    differentiate_definition,
    run_backward,
    run_forward,
)
from graphattn.kernels.edge_attention.plan import LEFT, OUTPUTS, SINK, Call, Plan


@torch.library.custom_op("graphattn::edge_attention", mutates_args=(), tags=READS)
def edge_attention(
    inputs: Sequence[Tensor],
    ends: Sequence[Tensor],
    keep: Tensor | None,
    program: str,
    sizes: Sequence[int],
    kind: str,
    scale: float,
    want_weights: bool,
    want_logits: bool,
) -> list[Tensor]:
    """Attention over edges by compiled kernels.

    Args:
        inputs: Those of the program, in its order, and the logit of a sink, ``(H,)``, if any.
        ends: The structure, as ``EdgeList.arguments`` or ``arguments_of`` give it.
        keep: What dropout keeps, if there is any: of edges 1 for each weight that stays, uint8,
            ``(E, H)`` or with further rows; of blocks a ``dropout_draw``.
        program: What every edge computes, as ``kernels.program.serialize`` writes it.
        sizes: Of the structure, likewise.
        kind: Of the structure, likewise.
        scale: What a kept weight is multiplied by.
        want_weights: Whether weights before dropout, ``(E, H)``, are returned.
        want_logits: Whether logits, ``(E, H)``, are returned.

    Returns:
        What ``result_names`` says, in its order. The output has the type that sums have.

    Raises:
        TypeError, ValueError, IndexError: If an input fits neither program nor structure.
        NotImplementedError: Inside forward-mode differentiation.
    """
    refuse_forward_mode()
    structure = _structure(ends, sizes, kind)
    how = (scale, want_weights, want_logits)
    plan, call, given = _prepare(inputs, structure, keep, program, how)
    results = run_forward(plan, call, given)
    made = [results[name] for name in result_names(plan.program, want_weights, want_logits)]
    return [x for x in made if x is not None]


@edge_attention.register_fake
def _(
    inputs: Sequence[Tensor],
    ends: Sequence[Tensor],
    keep: Tensor | None,
    program: str,
    sizes: Sequence[int],
    kind: str,
    scale: float,
    want_weights: bool,
    want_logits: bool,
) -> list[Tensor]:
    known = plan_of(program).program
    results = []
    for name in result_names(known, want_weights, want_logits):
        row, dtype = result_kind(known, name)
        rows = sizes[1] if name in ("output", "norm") else _num_edges(ends, sizes, kind)
        results.append(ends[0].new_empty((rows, *row), dtype=dtype))
    return results


@torch.library.custom_op("graphattn::edge_attention_backward", mutates_args=(), tags=READS)
def edge_attention_backward(
    inputs: Sequence[Tensor],
    ends: Sequence[Tensor],
    keep: Tensor | None,
    program: str,
    sizes: Sequence[int],
    kind: str,
    scale: float,
    want_weights: bool,
    want_logits: bool,
    left: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    wanted: Sequence[int],
) -> list[Tensor]:
    """Gradients of the inputs of ``edge_attention``, whose arguments come first.

    Args:
        inputs: See there.
        ends: See there.
        keep: See there.
        program: See there.
        sizes: See there.
        kind: See there.
        scale: See there.
        want_weights: See there.
        want_logits: See there.
        left: Its output, norm and weights, as far as it returned them.
        gradients: Those of its output, weights, logits and edge output; ``None`` for zeros.
        wanted: Positions of the inputs whose gradients are returned.

    Raises:
        TypeError, ValueError, IndexError: If an input fits neither program nor structure.
    """
    structure = _structure(ends, sizes, kind)
    how = (scale, want_weights, want_logits)
    plan, call, given = _prepare(inputs, structure, keep, program, how)
    names = [list(given)[position] for position in wanted]
    returned = result_names(plan.program, want_weights, want_logits)
    found_left = zip([name for name in returned if name in LEFT], left, strict=True)
    known_left: dict[str, Tensor | None] = dict.fromkeys(LEFT) | dict(found_left)
    known = dict(zip(OUTPUTS, gradients, strict=True))
    for results in (known_left, known):
        check_results(plan.program, results, call)
    found = run_backward(plan, call, given, names, known_left, gradients)
    return [found[name] for name in names]


@edge_attention_backward.register_fake
def _(
    inputs: Sequence[Tensor],
    ends: Sequence[Tensor],
    keep: Tensor | None,
    program: str,
    sizes: Sequence[int],
    kind: str,
    scale: float,
    want_weights: bool,
    want_logits: bool,
    left: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    wanted: Sequence[int],
) -> list[Tensor]:
    return [
        torch.empty_like(inputs[position], memory_format=torch.contiguous_format)
        for position in wanted
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    tensors, ends, keep, *ctx.rest = inputs
    program, *_, want_weights, want_logits = ctx.rest
    ctx.set_materialize_grads(False)
    ctx.names = result_names(plan_of(program).program, want_weights, want_logits)
    results = dict(zip(ctx.names, output, strict=True))
    if "norm" in results:
        ctx.mark_non_differentiable(results["norm"])
    ctx.counts = (len(tensors), len(ends), int(keep is not None))
    left = [x for name, x in results.items() if name in LEFT]
    ctx.save_for_backward(*tensors, *ends, *([] if keep is None else [keep]), *left)


@unseen  # autograd calls it, and Dynamo would look into it
def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    saved = iter(ctx.saved_tensors)
    inputs, ends, keeps = ([next(saved) for _ in range(count)] for count in ctx.counts)
    left, keep = list(saved), keeps[0] if keeps else None
    arriving = dict(zip(ctx.names, gradients, strict=True))
    of_outputs = [arriving.get(name) for name in OUTPUTS]
    wanted = [position for position, needs in enumerate(ctx.needs_input_grad[0]) if needs]
    found: Sequence[Tensor | None]
    if must_be_plain(*of_outputs):
        program, sizes, kind, *how = ctx.rest
        structure = _structure(ends, sizes, kind)
        _, call, given = _prepare(inputs, structure, keep, program, tuple(how))
        names = [list(given)[position] for position in wanted]
        gradients_by_name = differentiate_definition(call, given, names, of_outputs)
        found = [gradients_by_name.get(name) for name in names]
    else:
        found = edge_attention_backward(inputs, ends, keep, *ctx.rest, left, of_outputs, wanted)
    of_inputs: list[Tensor | None] = [None] * len(inputs)
    for position, gradient in zip(wanted, found, strict=True):
        of_inputs[position] = gradient
    return of_inputs, [None] * len(ends), None, *(None for _ in ctx.rest)


edge_attention.register_autograd(_backward, setup_context=_save)


def _num_edges(ends: Sequence[Tensor], sizes: Sequence[int], kind: str) -> int:
    return sizes[2] if kind == BLOCKS else EdgeList.from_arguments(ends, sizes, kind).num_edges


def _structure(ends: Sequence[Tensor], sizes: Sequence[int], kind: str) -> Edges | Blocks:
    if kind == BLOCKS:
        return blocks_of(ends, sizes)
    return EdgeList.from_arguments(ends, sizes, kind).structure()


def _prepare(
    inputs: Sequence[Tensor],
    structure: Edges | Blocks,
    keep: Tensor | None,
    text: str,
    how: tuple[Any, ...],
) -> tuple[Plan, Call, dict[str, Tensor]]:
    """What the passes need, after checking it; ``how`` is scale, weights wanted, logits wanted."""
    plan, num_targets = plan_of(text, structure.device.type), structure.num_targets
    num_edges, shape = structure.num_edges, (structure.num_edges, plan.program.num_heads)
    rows = {"target": num_targets, "source": structure.num_sources, "edge": num_edges}
    given = named_inputs(plan.program, inputs, rows, structure.device)
    if keep is not None and isinstance(structure, Blocks):
        keep = _checked_draw(keep)
    elif keep is not None:
        keep = _checked_mask(keep, shape)

    def defined(given: dict[str, Tensor], keep: Tensor | None, scale: float) -> dict[str, Tensor]:
        ends = (structure.source, structure.target, num_targets)
        mask, sink = shown_mask(keep, shape), given.get(SINK)
        return definition.attend(plan.program, given, *ends, mask, scale, sink)

    return plan, call_for(structure, defined, keep, *how), given


def _checked_mask(keep: Tensor, shape: tuple[int, int]) -> Tensor:
    fits = keep.ndim == 2 and keep.shape[0] >= shape[0] and keep.shape[1] == shape[1]
    if not fits or keep.dtype != torch.uint8:
        raise ValueError(
            f"keep must be uint8 {shape}, perhaps with further rows, got"
            f" {keep.dtype} {tuple(keep.shape)}"
        )
    return keep[: shape[0]].contiguous()


def _checked_draw(keep: Tensor) -> Tensor:
    if keep.dtype != torch.int64 or keep.shape != (2,):
        raise ValueError(
            f"keep must be int64 (2,) between the pairs of blocks, got {keep.dtype}"
            f" {tuple(keep.shape)}"
        )
    return keep.contiguous()
