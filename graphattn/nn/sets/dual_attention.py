"""Dual attention: heads that read features beside heads that read relations between elements."""

from typing import Any

import torch
from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.sets.dot_product import attend, dot_product_attention, score


class RelationMessage(nn.Module):
    """What a pair brings: its relations, for every head, and the symbol of the source."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(
        self,
        left: Tensor,
        right: Tensor,
        symbol: Tensor | None = None,
        pair_symbol: Tensor | None = None,
    ) -> Tensor:
        """``(E, H, R + C)`` from left and right of ``(E, R, P)`` and symbols of ``(E, H, C)``."""
        named: Any = pair_symbol if symbol is None else symbol  # one of them is there
        relation = self.activation((left * right).sum(-1) / left.shape[-1] ** 0.5)  # (E, R)
        return torch.cat([relation.unsqueeze(1).expand(-1, named.shape[1], -1), named], dim=-1)


class Relations(nn.Module):
    r"""Several learned comparisons of two elements.

    .. math::
        r_\ell(x_i, x_j) = \phi\bigl(W^\ell_q x_i \cdot W^\ell_k x_j / \sqrt{P}\bigr)

    Args:
        channels: Width of the elements.
        num_relations: Number ``R`` of comparisons.
        relation_channels: Width ``P`` in which each compares.
        symmetric: Whether both elements are mapped alike.
        activation: The function ``φ`` of single numbers; none if left out.
    """

    def __init__(
        self,
        channels: int,
        num_relations: int,
        relation_channels: int,
        symmetric: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.num_relations = num_relations
        width = num_relations * relation_channels
        self.query = nn.Linear(channels, width, bias=False)
        self.key = self.query if symmetric else nn.Linear(channels, width, bias=False)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides of the comparisons, ``(N, R, P)`` each."""
        left, right = (
            linear(x).unflatten(1, (self.num_relations, -1)) for linear in (self.query, self.key)
        )
        return left, right


class RelationalAttention(nn.Module):
    r"""Attention that brings, not features, but how two elements relate and what tells them apart.

    .. math::
        o_i^h = W_r^h \textstyle\sum_j \alpha^h_{ij}\, r(x_i, x_j) + \sum_j \alpha^h_{ij}\, W^h_v
        s_j, \qquad \alpha^h_{ij} = \operatorname{softmax}_j(q^h_i \cdot k^h_j / \sqrt{C})

    Relations are summed before ``W_r`` is applied: nothing is as large as pairs times channels.

    Args:
        channels: Width of the elements and symbols.
        heads: Number of heads.
        relations: How elements are compared.
        head_channels: Width ``C`` of a head; ``channels / heads`` if left out.
        key_value_heads: Number of heads of keys and symbols, each shared by as many neighbouring
            heads of queries; as many as ``heads`` if left out.
        bias: Whether keys, symbols and output have a bias, as in the authors' code.

    Shapes:
        - x: ``(N, channels)``, the elements of all sets one after another
        - symbols: ``(N, channels)``, or one for each pair, ``(E, channels)``, with
          ``symbols_of_pairs``
        - edges: ``Blocks`` of ``N`` elements, or ``Edges``, where not every pair may attend
        - output: ``(N, heads * head_channels)``; with ``return_weights`` also the weights,
          ``(E, heads)``. An element without sources gets the output bias.

    Raises:
        TypeError: If an input is no floating-point tensor, or ``edges`` no structure.
        ValueError: If a shape does not fit, or heads do not divide.

    Source: Altabaa and Lafferty, "Disentangling and Integrating Relational and Sensory Information
        in Transformer Architectures", ICML 2025, and the authors' code.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        relations: Relations,
        head_channels: int | None = None,
        key_value_heads: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if head_channels is None:
            check_heads(channels, heads)
            head_channels = channels // heads
        if heads < 1:
            raise ValueError(f"heads must be positive, got {heads}")
        self.channels, self.heads, self.relations = channels, heads, relations
        self.key_value_heads = heads if key_value_heads is None else key_value_heads
        if self.key_value_heads < 1 or heads % self.key_value_heads:
            raise ValueError(
                f"key_value_heads must divide heads = {heads}, got {self.key_value_heads}"
            )
        width, fewer = heads * head_channels, self.key_value_heads * head_channels
        self.query = nn.Linear(channels, width, bias=False)
        self.key = nn.Linear(channels, fewer, bias=bias)
        self.symbol = nn.Linear(channels, fewer, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)
        self.relation = nn.Parameter(torch.empty(heads, head_channels, relations.num_relations))
        nn.init.kaiming_uniform_(self.relation.view(width, -1), a=5**0.5)
        self.attend = EdgeAttention(
            score,
            RelationMessage(relations.activation),
            target=["query", "left"],
            source=["key", "right", "symbol"],
            edge=["pair_symbol"],
        )

    def forward(
        self,
        x: Tensor,
        symbols: Tensor,
        edges: Edges | Blocks,
        *,
        symbols_of_pairs: bool = False,
        return_weights: bool = False,
    ) -> Any:
        """Attends; see the class for shapes."""
        _check_structure(edges)
        check_elements("x", x, edges.num_targets, self.channels)
        rows = edges.num_edges if symbols_of_pairs else edges.num_sources
        check_elements("symbols", symbols, rows, self.channels)
        left, right = self.relations(x)
        attended = self.attend(
            edges,
            query=self.query(x).unflatten(1, (self.heads, -1)),
            key=self._for_all_heads(self.key(x)),
            left=left,
            right=right,
            return_weights=return_weights,
            **{"pair_symbol" if symbols_of_pairs else "symbol": self._of_heads(symbols)},
        )
        out, weights = attended if return_weights else (attended, None)
        related, symbol = out.split([self.relations.num_relations, self.relation.shape[1]], dim=2)
        out = torch.einsum("nhr,hcr->nhc", related, self.relation) + symbol
        out = self.output(out.flatten(1))
        return (out, weights) if return_weights else out

    def _of_heads(self, symbols: Tensor) -> Tensor:
        return self._for_all_heads(self.symbol(symbols))

    def _for_all_heads(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.key_value_heads, -1))
        return x.repeat_interleave(self.heads // self.key_value_heads, dim=1)

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}"


class DualAttention(nn.Module):
    r"""Heads of dot-product attention, and beside them heads of relational attention.

    Args:
        channels: Width of the elements; all heads together divide it.
        heads: Number of heads that read features, 1 or more.
        relational_heads: Number of heads that read relations, 1 or more.
        num_relations: Number of relations; divides the width of the relational heads.
        symmetric: Whether relations map both elements alike.
        activation: Function of every relation; none if left out.

    Shapes:
        - x: ``(N, channels)``, the elements of all sets one after another
        - symbols: ``(N, channels)``
        - edges: ``Blocks`` of ``N`` elements, or ``Edges``, where not every pair may attend
        - output: ``(N, channels)``, features first

    Raises:
        TypeError: If an input is no floating-point tensor, or ``edges`` no structure.
        ValueError: If a shape does not fit, a number does not divide, or there is no head of a
            kind.

    Source: see ``RelationalAttention``.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        relational_heads: int,
        num_relations: int,
        symmetric: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or relational_heads < 1:
            raise ValueError(
                f"heads and relational_heads must be positive, got {heads} and {relational_heads}"
            )
        check_heads(channels, heads + relational_heads)
        head_channels = channels // (heads + relational_heads)
        related = relational_heads * head_channels
        if num_relations < 1 or related % num_relations:
            raise ValueError(f"num_relations must divide {related}, got {num_relations}")
        self.channels, self.heads = channels, heads
        width = heads * head_channels
        self.query = nn.Linear(channels, width, bias=False)
        self.key = nn.Linear(channels, width, bias=False)
        self.value = nn.Linear(channels, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.relational = RelationalAttention(
            channels,
            relational_heads,
            Relations(channels, num_relations, related // num_relations, symmetric, activation),
            head_channels,
        )

    def forward(self, x: Tensor, symbols: Tensor, edges: Edges | Blocks) -> Tensor:
        """Attends; see the class for shapes."""
        _check_structure(edges)
        check_elements("x", x, edges.num_targets, self.channels)
        query, key, value = (
            linear(x).unflatten(1, (self.heads, -1))
            for linear in (self.query, self.key, self.value)
        )
        if isinstance(edges, Blocks):
            out = dot_product_attention(edges, query, key, value)
        else:
            out = attend(edges, query=query, key=key, value=value)
        return torch.cat([self.output(out.flatten(1)), self.relational(x, symbols, edges)], dim=1)

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}"


def _check_structure(edges: Edges | Blocks) -> None:
    if not isinstance(edges, Edges | Blocks):
        got = type(edges).__name__
        raise TypeError(f"edges must be a graphattn.Blocks or graphattn.Edges, got {got}")
    if edges.num_targets != edges.num_sources:
        raise ValueError(
            f"edges must be among one set of elements, got {edges.num_targets} targets and"
            f" {edges.num_sources} sources"
        )
