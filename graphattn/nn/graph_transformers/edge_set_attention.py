"""Edge-set attention: the edges of a graph as the elements of a set."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.blocks import Blocks
from graphattn.dropout import kept_factor
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.graph_structure import check_one_set
from graphattn.nn.sets.dot_product import attend, dot_product_attention


def edges_sharing_nodes(edges: Edges) -> Edges:
    r"""The structure in which an edge attends to all others that share a node with it.

    The two directions of one link share both nodes, and attend to each other. There are as many
    pairs as the squares of the nodes' degrees make together.

    Args:
        edges: The graph; its ``E`` edges become sources and targets.

    Returns:
        Edges among the edges, ``E`` sources and ``E`` targets; none for a graph without edges.

    Raises:
        TypeError: If ``edges`` is no ``Edges``.
        ValueError: If its sources and targets are not the same nodes.
    """
    if not isinstance(edges, Edges):
        raise TypeError(f"edges must be a graphattn.Edges, got {type(edges).__name__}")
    check_one_set("edges", edges)
    size = edges.num_edges
    node = torch.cat([edges.source, edges.target])  # every edge is at two nodes
    order = node.argsort(stable=True)
    ends = node.bincount(minlength=edges.num_targets).cumsum(0)
    around = Blocks.from_ptr(torch.cat([ends.new_zeros(1), ends]))
    at = order % max(size, 1)  # the edge of each end
    reader, read = at[around.target], at[around.source]
    pairs = torch.unique((reader * size + read)[reader != read])  # once, if they share two nodes
    index = torch.stack([pairs % max(size, 1), pairs // max(size, 1)])
    return Edges.from_edge_index(index, size, size)


class EdgeSetAttention(nn.Module):
    r"""Attention of one set over another, without a residual to what attends.

    .. math::
        o_i = \big\Vert_h \sum_j \operatorname{softmax}_j\bigl(q^h_i \cdot k^h_j / \sqrt{C}\bigr)\,
        v^h_j, \qquad x_i' = o_i + \operatorname{Mish}(W_o o_i)

    Edges attend to those they share a node with, over ``edges_sharing_nodes``, or to all edges of
    their graph, over ``Blocks``. With learned seeds in place of ``x`` it pools.

    Args:
        query_channels: Width of the elements that attend.
        key_channels: Width of those attended to.
        channels: Width of the output, and of all heads together.
        heads: Number of heads; divides ``channels``.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x: ``(N, query_channels)``
        - y: ``(M, key_channels)``
        - structure: elements of ``x`` are targets, those of ``y`` are sources
        - output: ``(N, channels)``; a constant where there is nothing to attend to

    Raises:
        TypeError: If an input is no floating-point tensor, or ``structure`` no structure.
        ValueError: If a shape does not fit, ``heads`` does not divide ``channels``, or ``dropout``
            is no probability.

    Source: Buterez et al., "An end-to-end attention-based approach for learning on graphs", Nature
        Communications 2025, and the official code. There the masks of its path without xformers
        are inverted, so that edges attend to those they share no node with; and an edge that
        shares a node with no other attends to all slots of the padded batch.
    """

    def __init__(
        self,
        query_channels: int,
        key_channels: int,
        channels: int,
        heads: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        kept_factor(dropout)  # refuses what is no probability
        self.heads, self.dropout = heads, dropout
        self.lin_query = nn.Linear(query_channels, channels)
        self.lin_key = nn.Linear(key_channels, channels)
        self.lin_value = nn.Linear(key_channels, channels)
        self.lin_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, y: Tensor, structure: Blocks | Edges) -> Tensor:
        """Attends; see the class for shapes."""
        if not isinstance(structure, Blocks | Edges):
            raise TypeError(f"structure must be Blocks or Edges, got {type(structure).__name__}")
        check_elements("x", x, structure.num_targets, self.lin_query.in_features)
        check_elements("y", y, structure.num_sources, self.lin_key.in_features)
        inputs = {
            "query": self._by_head(self.lin_query(x)),
            "key": self._by_head(self.lin_key(y)),
            "value": self._by_head(self.lin_value(y)),
        }
        dropout = self.dropout if self.training else 0.0
        if isinstance(structure, Blocks):
            out = dot_product_attention(structure, **inputs, dropout=dropout)
        else:
            out = attend(structure, **inputs, dropout=dropout)
        out = out.flatten(1)
        return out + F.mish(self.lin_out(out))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def extra_repr(self) -> str:
        return f"heads={self.heads}, dropout={self.dropout}"
