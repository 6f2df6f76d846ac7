"""What every peer gives the harness: how its structure is built and its layer is called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.cases import Case

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Contestant:
    """One layer of one peer, with its weights.

    Attributes:
        parameters: What gets gradients besides the node features.
        prepare: Makes what the layer wants in place of an edge list, from ``(2, E)`` and ``N``. It
            is timed where the edge list is new at each step, and called once where it is not.
        call: The layer: node features, the structure, edge features ``(E, F)`` or None, to
            ``(N, H * C)``.
    """

    parameters: Sequence[Tensor]
    prepare: Callable[[Tensor, int], Any]
    call: Callable[[Sequence[Tensor], Any, Tensor | None], Tensor]


def arguments(layer: str, case: Case, *, self_loops: bool | None = None) -> dict[str, Any]:
    """Arguments of PyTorch Geometric's constructors, which ours share."""
    given: dict[str, Any] = {
        "in_channels": case.in_channels,
        "out_channels": case.channels,
        "heads": case.heads,
        "edge_dim": case.edge_channels or None,
    }
    if layer != "TransformerConv":  # it has no self-loops of its own
        given["add_self_loops"] = case.self_loops if self_loops is None else self_loops
    return given
