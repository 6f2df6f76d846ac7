"""What a program computes over all edges, in plain PyTorch: attention without user's functions."""

from collections.abc import Mapping

import torch
from torch import Tensor

from graphattn.kernels.edge_attention import reference
from graphattn.kernels.program import Program
from graphattn.kernels.program.interpret import interpret


def attend(
    program: Program,
    inputs: Mapping[str, Tensor],
    source: Tensor,
    target: Tensor,
    num_targets: int,
    keep: Tensor | None = None,
    scale: float = 1.0,
    sink: Tensor | None = None,
) -> dict[str, Tensor]:
    """The attention of a program; differentiable any number of times.

    Args:
        program: What every edge computes.
        inputs: By name, as the program has them: rows for targets, sources, edges, or whole.
        source: Source of each edge, ``(E,)``, int64.
        target: Target of each edge, ``(E,)``, int64.
        num_targets: ``N``.
        keep: 1 where dropout keeps a weight, ``(E, H)``, uint8.
        scale: What a kept weight is multiplied by.
        sink: One more logit of every target's softmax, ``(H,)``.

    Returns:
        ``"output"``, ``(N, H, C)``, ``"weights"`` before dropout and ``"logits"``, ``(E, H)``, and
        ``"edge_output"``, ``(E, ...)``, as far as the program has them.
    """
    results = at_all_edges(program, inputs, source, target)
    if program.reduction == "edges":
        return results
    weights = results.get("weights")
    if program.reduction == "softmax":
        weights = reference.segment_softmax(results["logits"], target, num_targets, sink)
    elif program.reduction == "sum" and weights is not None:
        wide = weights.to(torch.promote_types(weights.dtype, torch.float32))
        total = reference.segment_sum(wide, target, num_targets) + program.epsilon
        total = total.masked_fill(total == 0, 1)
        weights = (wide / total.index_select(0, target)).to(weights.dtype)
    if weights is None:
        raise ValueError(f"program must have logits or weights, got {list(program.outputs)}")
    kept = weights if keep is None else weights * keep * scale
    output = reference.weighted_sum(kept, results.pop("message"), target, num_targets)
    return {**results, "output": output, "weights": weights}


def at_all_edges(
    program: Program, inputs: Mapping[str, Tensor], source: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """The outputs of a program at each edge, ``(E, ...)``; without edges, empty ones."""
    roles = {name: spec.role for name, spec in program.inputs.items()}
    own = {name: inputs[name] for name in roles}
    if target.shape[0] == 0:
        return {
            name: torch.zeros(0, *program.shape(value)[1:], dtype=program.dtype(value))
            for name, value in program.outputs.items()
        }

    def of_one(_: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = {
            name: x if roles[name] == "shared" else x.unsqueeze(0)
            for name, x in zip(own, tensors, strict=True)
        }
        results = interpret(program, given)
        return tuple(results[name].squeeze(0) for name in program.outputs)

    gathered = reference.gather(own, roles, source, target)
    # The targets stand for the edges in a program whose inputs are all shared.
    axes = (0, *(None if role == "shared" else 0 for role in roles.values()))
    results = torch.vmap(of_one, axes)(target, *gathered.values())
    return dict(zip(program.outputs, results, strict=True))
