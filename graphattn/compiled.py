"""Attention by compiled kernels: what a call asks of them, and what they cannot do."""

from collections.abc import Callable

import torch
from torch import Tensor

from graphattn.dropout import dropout_mask, masked
from graphattn.edges import Edges
from graphattn.kernels.edge_attention.op import Call, Plan, edge_attention
from graphattn.normalizers import Normalizer, Softmax

Keep = Callable[[Tensor], Tensor]


def attend_compiled(
    plan: Plan,
    edges: Edges,
    inputs: dict[str, Tensor],
    dropout: float,
    wanted: set[str],
    definition: Callable[[dict[str, Tensor], Keep], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Softmax attention by kernels compiled for this processor.

    Args:
        plan: The program.
        edges: The structure.
        inputs: Tensors by the names of the program's inputs.
        dropout: Probability of a weight to be dropped.
        wanted: Which of ``"weights"``, ``"dropped"`` and ``"logits"`` are to be returned.
        definition: The same in plain PyTorch, from inputs and how weights are dropped.

    Returns:
        ``"output"``, ``"edge_output"`` if there is one, and what is wanted.
    """
    shape = (edges.num_edges, plan.program.num_heads)
    keep, scale = dropout_mask(shape, dropout, edges.device)
    call = Call(
        target=edges.target,
        by_target=edges.by_target,
        by_source=lambda: edges.by_source,
        keep=keep,
        scale=scale,
        want_weights=bool(wanted & {"weights", "dropped"}),
        want_logits="logits" in wanted,
        definition=lambda given, keep, scale: definition(
            given, lambda weights: masked(weights, keep, scale)
        ),
    )
    results = edge_attention(plan, call, inputs)
    parts = {name: result for name, result in results.items() if result is not None}
    if "dropped" in wanted:
        parts["dropped"] = masked(parts["weights"], keep, scale)
    return parts


def check_compiled(device: torch.device, weights: Tensor | None, normalizer: Normalizer) -> None:
    """Refuses what compiled kernels cannot do, and says what can."""
    wrong = {
        f"edges on {device}": device.type != "cpu",
        "weights=": weights is not None,
        f"the normalizer {normalizer}": type(normalizer) is not Softmax,
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise ValueError(f'backend "cpp" cannot do {what} yet; backend="reference" can')
