"""Gated attention over the instances of a bag: which of them make its label."""

from typing import Any

import torch
from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.nn.elements import check_elements, check_sets


def score(
    hidden: Tensor, gate: Tensor, attention: Tensor, bias: Tensor, keep: Tensor | None = None
) -> Tensor:
    """``(E, H)`` from hidden and gate of ``(E, 1, A)``, attention ``(H, A)`` and bias ``(H,)``."""
    logits = (hidden.tanh() * gate.sigmoid() * attention).sum(-1) + bias
    # Not -inf: a bag of which nothing is kept then has equal weights, as in the ACMIL code.
    return logits if keep is None else torch.where(keep > 0, logits, -1e9)


def message(value: Tensor, attention: Tensor) -> Tensor:
    """The instance itself ``(E, 1, C)``, for every branch: ``(E, H, C)``."""
    return value.expand(-1, attention.shape[0], -1)


attend = EdgeAttention(
    score,
    message,
    source=["hidden", "gate", "value"],
    edge=["keep"],
    shared=["attention", "bias"],
)


class GatedAttentionPooling(nn.Module):
    r"""One vector for each bag: the mean of its instances, weighted by what each of them is.

    .. math::
        z_s = \textstyle\sum_{j \in s} \operatorname{softmax}_j\bigl(w^\top
        (\tanh(V x_j) \odot \sigma(U x_j)) + c\bigr)\, x_j

    Args:
        in_channels: Width of the instances.
        attention_channels: Width ``A`` of ``V x`` and ``U x``.
        branches: Number of weightings, each with a ``w`` and a ``c`` of its own.

    Shapes:
        - x: ``(N, in_channels)``, the instances of all bags one after another
        - blocks: ``S`` bags of ``N`` instances
        - keep: instances that count in each branch, ``(N, branches)``, of ones and zeros; all of
          them if left out
        - output: ``(S, branches, in_channels)``, zeros for an empty bag; then, as asked for, the
          weights and the logits, ``(N, branches)`` each

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit.

    Source: Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018,
        with the biases of the authors' code; several branches as in ``ACMIL``.
    """

    def __init__(self, in_channels: int, attention_channels: int, branches: int = 1) -> None:
        super().__init__()
        self.in_channels, self.branches = in_channels, branches
        self.hidden = nn.Linear(in_channels, attention_channels)
        self.gate = nn.Linear(in_channels, attention_channels)
        self.attention = nn.Linear(attention_channels, branches)

    def forward(
        self,
        x: Tensor,
        blocks: Blocks,
        keep: Tensor | None = None,
        *,
        return_weights: bool = False,
        return_logits: bool = False,
    ) -> Any:
        """Pools; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.in_channels)
        if keep is not None:
            check_elements("keep", keep, blocks.num_targets, self.branches)
        return attend(
            blocks.seeds(1),
            hidden=self.hidden(x).unsqueeze(1),
            gate=self.gate(x).unsqueeze(1),
            value=x.unsqueeze(1),
            attention=self.attention.weight,
            bias=self.attention.bias,
            return_weights=return_weights,
            return_logits=return_logits,
            **({} if keep is None else {"keep": keep}),
        )

    def extra_repr(self) -> str:
        return f"{self.in_channels}, branches={self.branches}"
