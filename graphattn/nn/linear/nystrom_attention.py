"""Attention by way of landmarks of each set: Nyström's approximation of softmax."""

from functools import partial

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce.op import segment_reduce
from graphattn.kernels.segment_softmax.op import segment_softmax
from graphattn.nn.elements import check_rows
from graphattn.nn.latents.agent_attention import cluster_means
from graphattn.nn.linear.linear_attention import LinearSetAttention, in_float32
from graphattn.nn.linear.set_products import SetTiles
from graphattn.nn.sets.dot_product import dot_product_attention


class NystromAttention(LinearSetAttention):
    r"""Softmax attention, its matrix approximated by rows and columns of a few landmarks.

    .. math::
        \mathrm{out} = \operatorname{softmax}(Q \tilde K^\top)\,
        \operatorname{softmax}(\tilde Q \tilde K^\top)^+\,
        \operatorname{softmax}(\tilde Q K^\top)\, V

    with queries and keys divided by :math:`C^{1/4}`. The landmarks :math:`\tilde Q, \tilde K` are
    means of clusters of queries and of keys: clusters that are given, or else runs of consecutive
    elements, of equal length but for one; then the order of a set's elements matters. A set that
    has no more queries or keys than landmarks gets softmax attention itself. The pseudo-inverse is
    approximated as well, by steps :math:`Z \leftarrow \frac 1 4 Z (13 I - A Z (15 I - A Z (7 I -
    A Z)))`.

    Args:
        num_landmarks: Landmarks of each set.
        iterations: Steps towards the pseudo-inverse.

    Shapes: see ``LinearSetAttention``, and
        - cluster: cluster of each query, ``(N,)``, int64, from 0 to ``num_landmarks - 1`` in each
          set; a cluster may be empty
        - source_cluster: that of each key, ``(M,)``; ``cluster`` if None

    Raises:
        TypeError: If a cluster is not int64.
        ValueError: If ``num_landmarks`` or ``iterations`` is not positive.

    Source: Xiong et al., "Nyströmformer: A Nyström-Based Algorithm for Approximating
        Self-Attention", AAAI 2021. The steps begin with the transpose over its largest column sum,
        of each matrix by itself, the official code's ``init_option="exact"``, so that sets do not
        see each other. The convolution of the values that is added there is the caller's.
    """

    def __init__(self, num_landmarks: int, iterations: int = 6) -> None:
        super().__init__()
        if num_landmarks < 1 or iterations < 1:
            raise ValueError(
                "num_landmarks and iterations must be positive, got"
                f" {num_landmarks} and {iterations}"
            )
        self.num_landmarks, self.iterations = num_landmarks, iterations

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocks: Blocks,
        cluster: Tensor | None = None,
        source_cluster: Tensor | None = None,
    ) -> Tensor:
        """Attends; see the class for shapes."""
        source_cluster = cluster if source_cluster is None else source_cluster
        attend = partial(self.attend, cluster=cluster, source_cluster=source_cluster)
        return in_float32(attend, query, key, value, blocks)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocks: Blocks,
        cluster: Tensor | None = None,
        source_cluster: Tensor | None = None,
    ) -> Tensor:
        num_queries, num_keys = blocks.target_ptr.diff(), blocks.source_ptr.diff()
        is_large = torch.minimum(num_queries, num_keys) > self.num_landmarks
        if not bool(is_large.any()):
            return dot_product_attention(blocks, query, key, value)
        own = [
            None if of is None else self._global(of, ptr)
            for of, ptr in ((cluster, blocks.target_ptr), (source_cluster, blocks.source_ptr))
        ]
        if bool(is_large.all()):
            return self._approximate(query, key, value, blocks, *own)
        # The sets stay where they are, in each half without the elements of the other.
        out = query.new_zeros(*query.shape[:2], value.shape[2])
        for are_these in (is_large, ~is_large):
            part = Blocks.from_ptr(
                *(_borders(sizes * are_these) for sizes in (num_queries, num_keys))
            )
            rows, columns = (
                are_these.repeat_interleave(sizes).nonzero().flatten()
                for sizes in (num_queries, num_keys)
            )
            given = query[rows], key[columns], value[columns]
            if are_these is is_large:
                clusters = (
                    None if of is None else of[index]
                    for of, index in zip(own, (rows, columns), strict=True)
                )
                found = self._approximate(*given, part, *clusters)
            else:
                found = dot_product_attention(part, *given)
            out = out.index_copy(0, rows, found)
        return out

    def _approximate(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocks: Blocks,
        cluster: Tensor | None,
        source_cluster: Tensor | None,
    ) -> Tensor:
        query, key = (x / x.shape[-1] ** 0.25 for x in (query, key))
        queries, keys = SetTiles(blocks), SetTiles(blocks.transposed())
        of_queries = self.landmarks(query, blocks.target_ptr, cluster)  # (S, H, L, C)
        of_keys = self.landmarks(key, blocks.source_ptr, source_cluster)
        read = segment_softmax(keys.products(key, of_queries.mT), blocks.source_ptr)  # (M, H, L)
        collected = keys.outer_sums(read, value)  # (S, H, L, D)
        between = (of_queries @ of_keys.mT).softmax(dim=-1)  # (S, H, L, L)
        weights = queries.products(query, of_keys.mT).softmax(dim=-1)  # (N, H, L)
        return queries.products(weights, self.inverse(between) @ collected)

    def landmarks(self, x: Tensor, ptr: Tensor, cluster: Tensor | None) -> Tensor:
        """Means of clusters or, without them, of runs of elements.

        Args:
            x: Queries or keys, ``(N, H, C)``.
            ptr: Borders of the sets, ``(S + 1,)``.
            cluster: Cluster of each element among all, ``(N,)``.

        Returns:
            ``(S, H, L, C)``.
        """
        count = self.num_landmarks
        if cluster is not None:
            means = cluster_means(x, cluster, count * (ptr.shape[0] - 1))
        else:
            steps = torch.arange(count, device=ptr.device)
            within = (ptr.diff()[:, None] * steps).div(count, rounding_mode="floor")
            starts = (ptr[:-1, None] + within).flatten()
            means = segment_reduce(x, torch.cat([starts, ptr[-1:]]), "mean")
        return means.unflatten(0, (-1, count)).transpose(1, 2)

    def inverse(self, matrix: Tensor) -> Tensor:
        """Nearly the pseudo-inverse of matrices whose rows sum to one, ``(S, H, L, L)``."""
        identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        inverse = matrix.mT / self.largest_sum(matrix)
        for _ in range(self.iterations):
            product = matrix @ inverse
            inner = 15 * identity - product @ (7 * identity - product)
            inverse = inverse @ (13 * identity - product @ inner) / 4
        return inverse

    def largest_sum(self, matrix: Tensor) -> Tensor:
        """The largest sum of a column, ``(S, H, 1, 1)``."""
        return matrix.sum(dim=-2, keepdim=True).amax(dim=-1, keepdim=True)

    def _global(self, cluster: Tensor, ptr: Tensor) -> Tensor:
        """Clusters of all sets, numbered one set after another."""
        num_rows = int(ptr[-1])
        check_rows("cluster", cluster, num_rows)
        if num_rows and not 0 <= int(cluster.min()) <= int(cluster.max()) < self.num_landmarks:
            raise ValueError(
                f"cluster must lie in [0, num_landmarks = {self.num_landmarks}), got"
                f" {int(cluster.min())} to {int(cluster.max())}"
            )
        first = torch.arange(ptr.shape[0] - 1, device=ptr.device) * self.num_landmarks
        return first.repeat_interleave(ptr.diff(), output_size=num_rows) + cluster

    def extra_repr(self) -> str:
        return f"{self.num_landmarks}, iterations={self.iterations}"


def _borders(sizes: Tensor) -> Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
