"""Pointers: attention whose weights are the answer, a choice among the elements of a set."""

from typing import Any

import torch
from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.elements import check_elements, check_own_keys, check_sets


def score(query: Tensor, key: Tensor, attention: Tensor, allowed: Tensor | None = None) -> Tensor:
    """``(E, 1)`` from query and key of ``(E, 1, C)`` and attention of ``(1, C)``."""
    logits = ((query + key).tanh() * attention).sum(-1)
    return logits if allowed is None else torch.where(allowed > 0, logits, -torch.inf)


def message(glimpse: Tensor) -> Tensor:
    """The element's own features, ``(E, 1, F)``."""
    return glimpse


attend = EdgeAttention(
    score,
    message,
    target=["query"],
    source=["key", "glimpse"],
    edge=["allowed"],
    shared=["attention"],
)


class PointerAttention(nn.Module):
    r"""For every query, a distribution over the elements of its set.

    .. math::
        \log p_{ij} = \operatorname{log\,softmax}_j\bigl(v^\top \tanh(W_1 e_j + W_2 d_i)\bigr)

    Args:
        query_channels: Width of the queries ``d``.
        key_channels: Width of the elements ``e``.
        hidden_channels: Width inside of the score.

    Shapes:
        - query: ``(Q, query_channels)``, of all sets one after another
        - key: ``(N, key_channels)``, likewise
        - blocks: queries and elements of ``S`` sets, ``P`` pairs
        - allowed: one where a query may choose an element, else zero, ``(P,)``, floating point;
          any, if left out
        - output: logarithms of the probabilities, ``(P,)``, in the order of the pairs: query by
          query, -inf where not allowed. With ``return_glimpse`` also the mean of the elements under
          these probabilities, ``(Q, key_channels)``; zeros for a query that may choose nothing.

    Raises:
        TypeError: If an input is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit.

    Source: Vinyals, Fortunato and Jaitly, "Pointer Networks", NeurIPS 2015; the glimpse is of
        Bello et al., "Neural Combinatorial Optimization with Reinforcement Learning", 2016.
    """

    def __init__(self, query_channels: int, key_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.query_channels, self.key_channels = query_channels, key_channels
        self.query = nn.Linear(query_channels, hidden_channels, bias=False)
        self.key = nn.Linear(key_channels, hidden_channels, bias=False)
        self.attention = nn.Parameter(torch.empty(hidden_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        self.query.reset_parameters()
        self.key.reset_parameters()
        bound = self.attention.shape[0] ** -0.5
        nn.init.uniform_(self.attention, -bound, bound)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        blocks: Blocks,
        allowed: Tensor | None = None,
        *,
        return_glimpse: bool = False,
    ) -> Any:
        """Points; see the class for shapes."""
        check_sets(blocks)
        check_elements("query", query, blocks.num_targets, self.query_channels)
        check_elements("key", key, blocks.num_sources, self.key_channels)
        if allowed is not None:
            if not isinstance(allowed, Tensor):
                raise TypeError(f"allowed must be a tensor, got {type(allowed).__name__}")
            if allowed.shape != (blocks.num_edges,):
                raise ValueError(
                    f"allowed must be ({blocks.num_edges},), one for each pair,"
                    f" got {tuple(allowed.shape)}"
                )
        glimpse, logits = attend(
            blocks,
            query=self.query(query).unsqueeze(1),
            key=self.key(key).unsqueeze(1),
            glimpse=key.unsqueeze(1),
            attention=self.attention.unsqueeze(0),
            return_logits=True,
            **({} if allowed is None else {"allowed": allowed.unsqueeze(1)}),
        )
        log_probability = _log_softmax(logits.squeeze(1), blocks)
        return (log_probability, glimpse.squeeze(1)) if return_glimpse else log_probability

    def extra_repr(self) -> str:
        return f"{self.query_channels}, {self.key_channels}"


def _log_softmax(logits: Tensor, blocks: Blocks) -> Tensor:
    """Over the pairs of every query: unlike the logarithm of a softmax, finite at any distance."""
    ptr, query = blocks.by_target.ptr, blocks.target
    largest = segment_reduce(logits.detach(), ptr, "max")
    shifted = logits - torch.where(largest.isfinite(), largest, 0.0)[query]
    total = segment_reduce(shifted.exp(), ptr)
    # A query that may choose nothing keeps its -inf, and is nothing to differentiate.
    return shifted - torch.where(total > 0, total, 1.0).log()[query]


def chosen(log_probability: Tensor, choices: Tensor, blocks: Blocks) -> Tensor:
    """The logarithms of the probabilities of what was chosen: minus the loss of a pointer.

    Args:
        log_probability: Of ``PointerAttention``, ``(P,)``.
        choices: For each query a row of the elements, one of its own set, ``(Q,)``, int64.
        blocks: Queries and elements.

    Returns:
        ``(Q,)``.

    Raises:
        TypeError: If ``choices`` is not int64.
        ValueError: If a shape does not fit, or a choice is of another set.
    """
    check_sets(blocks)
    if log_probability.shape != (blocks.num_edges,):
        got = tuple(log_probability.shape)
        raise ValueError(f"log_probability must be ({blocks.num_edges},), got {got}")
    check_own_keys("choices", choices, blocks)
    rows = blocks.by_target
    return log_probability[rows.ptr[:-1] + choices - rows.neighbor]
