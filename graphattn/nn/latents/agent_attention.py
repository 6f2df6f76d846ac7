"""Attention by way of agents: queries of clusters that read all elements and are read by them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.dropout import kept_factor
from graphattn.dynamo import unseen
from graphattn.nn.elements import (
    check_elements,
    check_floating,
    check_own_keys,
    check_rows,
    check_sets,
)
from graphattn.nn.sets.dot_product import dot_product_attention


def cluster_means(x: Tensor, cluster: Tensor, num_clusters: int) -> Tensor:
    """The mean of each cluster: seeds for latents, one a cluster.

    Args:
        x: ``(N, ...)``, floating point.
        cluster: Cluster of each row, ``(N,)``, int64, in [0, ``num_clusters``), in any order.
        num_clusters: How many there are.

    Returns:
        ``(num_clusters, ...)``; zeros for a cluster without rows.

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``cluster`` no int64 one.
        ValueError: If there is not one cluster for each row, or one is not there.
    """
    check_floating("x", x)
    check_rows("cluster", cluster, x.shape[0])
    _check_range(cluster, num_clusters)
    return _means(x, cluster, num_clusters)


def _means(x: Tensor, cluster: Tensor, num_clusters: int) -> Tensor:
    total = x.new_zeros(num_clusters, *x.shape[1:]).index_add(0, cluster, x)
    size = x.new_zeros(num_clusters).index_add(0, cluster, x.new_ones(x.shape[0]))
    return total / size.clamp(min=1).view(-1, *[1] * (x.ndim - 1))


@unseen  # which waits for the values
def _check_range(cluster: Tensor, num_clusters: int) -> None:
    if not cluster.numel():
        return
    least, most = torch.stack([cluster.amin(), cluster.amax()]).tolist()
    if not 0 <= least <= most < num_clusters:
        expected = f"[0, num_clusters = {num_clusters})"
        raise ValueError(f"cluster must lie in {expected}, got {least} to {most}")


class AgentAttention(nn.Module):
    r"""Agents, the mean queries of clusters, read the elements; elements then read the agents.

    .. math::
        A = \mathrm{pool}(Q), \qquad
        O = \operatorname{softmax}(Q A^\top / \sqrt{C})\,
        \bigl[\operatorname{softmax}(A K^\top / \sqrt{C})\, V\bigr] + \mathrm{local}(V)

    The cost is linear in the elements. It is no ``LatentLayer``: what elements match against are
    the agents as they were before they read, and only the values are what they have read.

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x: ``(N, channels)``
        - blocks: agents are its queries and elements its keys, as of
          ``Blocks.from_ptr(agent_ptr, ptr)``
        - cluster: the agent of each element, ``(N,)``, int64, one of its own set
        - local: gives ``(N, channels)`` from the values, ``(N, channels)``, as a convolution over
          neighbors does
        - output: ``(N, channels)``

    Raises:
        TypeError: If ``blocks`` is no ``Blocks``, or a dtype does not fit.
        ValueError: If ``heads`` does not divide ``channels``, ``dropout`` is no probability, a
            shape does not fit, or an agent is of another set.

    Source: Han et al., "Agent Attention: On the Integration of Softmax and Linear Attention",
        ECCV 2024. There the clusters are the cells of a coarse grid, ``local`` a depthwise
        convolution, and each softmax has a learned bias of positions on the grid, which sets lack.
    """

    def __init__(self, channels: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide channels, got {heads} and {channels}")
        kept_factor(dropout)  # refuses what is no probability
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.lin_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.lin_out = nn.Linear(channels, channels)

    def forward(
        self,
        x: Tensor,
        blocks: Blocks,
        cluster: Tensor,
        local: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Attends; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_sources, self.channels)
        elements = blocks.transposed()
        check_own_keys("cluster", cluster, elements)
        qkv = self.lin_qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.unbind(1)  # (N, H, C)
        agent = _means(query, cluster, blocks.num_targets)
        dropout = self.dropout if self.training else 0.0
        read = dot_product_attention(blocks, agent, key, value, dropout)
        out = dot_product_attention(elements, query, agent, read, dropout).flatten(1)
        if local is not None:
            out = out + local(value.flatten(1))
        projected: Tensor = self.lin_out(out)
        return projected
