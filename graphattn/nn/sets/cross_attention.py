"""Multi-head attention of the elements of one family of sets over those of another."""

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.dropout import kept_factor
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements
from graphattn.nn.sets.dot_product import attend, dot_product_attention


class CrossAttention(nn.Module):
    r"""Multi-head dot-product attention whose queries, keys and values come from anywhere.

    .. math::
        \mathrm{out}_i = W_o \big\Vert_h \sum_j
        \operatorname{softmax}_j\bigl(W_q q_i \cdot W_k k_j / \sqrt{C}\bigr)\, W_v v_j + b_o

    Over ``Blocks`` a query attends to all keys of its set, and nothing of the size of all pairs is
    kept; over ``Edges`` to the keys it has edges from, which is what a mask of pairs says.

    Args:
        channels: Width of the queries and of the output.
        heads: Number of heads.
        source_channels: Width of the keys and values; that of the queries if None.
        qk_channels: Width of mapped queries and keys, all heads together; ``channels`` if None.
        value_channels: Width of mapped values, all heads together; ``qk_channels`` if None.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - query: ``(N, channels)``
        - key, value: ``(M, source_channels)``
        - structure: queries are targets, keys are sources
        - output: ``(N, channels)``, the output bias alone for a query without keys; with
          ``return_weights``, also the weights before dropout, ``(P, heads)``, pair by pair

    Raises:
        TypeError: If ``structure`` is neither ``Blocks`` nor ``Edges``.
        ValueError: If ``heads`` does not divide the widths, or a shape does not fit.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 1,
        source_channels: int | None = None,
        qk_channels: int | None = None,
        value_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        source_channels = channels if source_channels is None else source_channels
        qk_channels = channels if qk_channels is None else qk_channels
        value_channels = qk_channels if value_channels is None else value_channels
        for name, width in {"qk_channels": qk_channels, "value_channels": value_channels}.items():
            if heads < 1 or width % heads:
                raise ValueError(f"heads must divide {name}, got {heads} and {width}")
        kept_factor(dropout)  # refuses what is no probability
        self.heads, self.dropout = heads, dropout
        self.lin_query = nn.Linear(channels, qk_channels)
        self.lin_key = nn.Linear(source_channels, qk_channels)
        self.lin_value = nn.Linear(source_channels, value_channels)
        self.lin_out = nn.Linear(value_channels, channels)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        structure: Blocks | Edges,
        *,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attends; see the class for shapes."""
        self.check(query, key, structure)
        check_elements("value", value, structure.num_sources, self.lin_value.in_features)
        inputs = {
            "query": self._by_head(self.lin_query(query)),
            "key": self._by_head(self.lin_key(key)),
            "value": self._by_head(self.lin_value(value)),
        }
        dropout = self.dropout if self.training else 0.0
        if return_weights:
            out, weights = attend(structure, **inputs, dropout=dropout, return_weights=True)
            return self.lin_out(out.flatten(1)), weights
        if isinstance(structure, Blocks):
            out = dot_product_attention(structure, **inputs, dropout=dropout)
        else:
            out = attend(structure, **inputs, dropout=dropout)
        attended: Tensor = self.lin_out(out.flatten(1))
        return attended

    def check(
        self,
        query: Tensor,
        key: Tensor,
        structure: Blocks | Edges,
        names: tuple[str, str] = ("query", "key"),
    ) -> None:
        """Raises what the class says, by the caller's names; blocks call it before their norms."""
        if not isinstance(structure, Blocks | Edges):
            raise TypeError(f"structure must be Blocks or Edges, got {type(structure).__name__}")
        check_elements(names[0], query, structure.num_targets, self.lin_query.in_features)
        check_elements(names[1], key, structure.num_sources, self.lin_key.in_features)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))  # (N, H, C)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, dropout={self.dropout}"
