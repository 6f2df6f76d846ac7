"""Attention as flow: what leaves the keys and what reaches the queries is conserved."""

from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce.op import segment_expand, segment_reduce
from graphattn.kernels.segment_softmax.op import segment_softmax
from graphattn.nn.linear.linear_attention import LinearSetAttention, feature_product, key_counts


class FlowAttention(LinearSetAttention):
    r"""Linear attention in which keys compete for an outflow, and queries for an inflow, of one.

    .. math::
        I_i = \varphi(q_i)^\top \textstyle\sum_j \varphi(k_j), \qquad
        O_j = \varphi(k_j)^\top \textstyle\sum_i \varphi(q_i), \qquad \varphi = \sigma

    .. math::
        \hat I_i = \varphi(q_i)^\top \textstyle\sum_j \varphi(k_j) / O_j, \qquad
        \hat O_j = \varphi(k_j)^\top \textstyle\sum_i \varphi(q_i) / I_i

    .. math::
        \mathrm{out}_i = \sigma\Bigl(\hat I_i \frac{n_q}{n_k}\Bigr)
        \frac{\varphi(q_i)^\top}{I_i} \textstyle\sum_j \varphi(k_j)\,
        n_k \operatorname{softmax}_j(\hat O_j)\, v_j^\top

    with :math:`n_q` queries and :math:`n_k` keys in the set, and :math:`\hat O` clamped to ±1.

    Args:
        epsilon: Added to both factors of each of the four products.

    Shapes: see ``LinearSetAttention``.

    Source: Wu et al., "Flowformer: Linearizing Transformers with Conservation Flows", ICML 2022, as
        its official code, without a mask; its maps before and after are the caller's.
    """

    def __init__(self, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        query, key = query.sigmoid(), key.sigmoid()
        of_queries, of_keys = blocks.target_ptr, blocks.source_ptr
        inflow = self._flow(query, of_queries, key, of_keys)  # (N, H, 1)
        outflow = self._flow(key, of_keys, query, of_queries)  # (M, H, 1)
        conserved_inflow = self._flow(query, of_queries, key / outflow, of_keys)
        conserved_outflow = self._flow(key, of_keys, query / inflow, of_queries).clamp(-1, 1)
        num_queries, num_keys = (
            ptr.diff().clamp(min=1).to(query.dtype) for ptr in (of_queries, of_keys)
        )
        many = segment_expand(num_keys, of_keys, blocks.num_sources)[:, None, None]
        competing = segment_softmax(conserved_outflow, of_keys) * many
        queries = segment_expand(num_queries, of_queries, blocks.num_targets)[:, None, None]
        allocated = (conserved_inflow * queries / key_counts(blocks, query)).sigmoid()
        return allocated * feature_product(query / inflow, key, value * competing, blocks)

    def _flow(self, own: Tensor, own_ptr: Tensor, other: Tensor, other_ptr: Tensor) -> Tensor:
        """Every element's product with the sum over the other side of its set, ``(N, H, 1)``."""
        total = segment_expand(segment_reduce(other, other_ptr), own_ptr, own.shape[0])
        return ((own + self.epsilon) * (total + self.epsilon)).sum(-1, keepdim=True)

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"
