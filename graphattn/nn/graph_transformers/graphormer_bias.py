"""What Graphormer adds to the logits of a pair: how far apart, and along which edges."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.blocks import Blocks
from graphattn.kernels.cpp.fallback import is_transformed
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.elements import check_sets
from graphattn.transforms import outside_transforms


class DirectEdgeBias(nn.Module):
    r"""A term for the edge between the two elements of a pair, the mean over its types.

    .. math::
        c_{ij} = \tfrac 1 F \textstyle\sum_f w_{t_{ijf}}

    Args:
        heads: Number of heads.
        num_types: Number of types of edges, type 0 among them, which says that there is none.

    Shapes:
        - types: ``(P, F)``, integer, from 0 to ``num_types - 1``

    Source: see ``GraphormerBias``; ``edge_type`` other than ``"multi_hop"`` in the official code.
    """

    def __init__(self, heads: int, num_types: int) -> None:
        super().__init__()
        self.types = nn.Embedding(num_types, heads, padding_idx=0)

    def table(self) -> Tensor:
        """One row for each type, ``(num_types, heads)``."""
        return self.types.weight

    def entries(self, types: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the table for each pair, and their factors; ``(P, F)`` each."""
        if types.ndim != 2 or types.shape[0] != distance.shape[0]:
            raise ValueError(f"types must be ({distance.shape[0]}, F), got {tuple(types.shape)}")
        return types.long(), (types > 0).to(self.types.weight) / max(types.shape[1], 1)


class PathBias(nn.Module):
    r"""A term for the edges on the way from one element of a pair to the other.

    .. math::
        c_{ij} = \frac 1 {L_{ij}} \sum_{k} \Bigl(\tfrac 1 F
        \textstyle\sum_f w_{t_{ijkf}}\Bigr)\, W_k, \qquad
        L_{ij} = \min(\max(\mathrm{hops}_{ij}, 1), D)

    Args:
        heads: Number of heads.
        num_types: Number of types of edges, type 0 among them, which says that there is none.
        max_hops: ``D``, how many edges of a path count: the first ones.

    Shapes:
        - types: ``(P, D', F)``, integer, from 0 to ``num_types - 1``: the edges of a path in order,
          zeros behind its end; what lies beyond ``max_hops`` is left out

    Source: see ``GraphormerBias``; ``edge_type="multi_hop"`` in the official code.
    """

    def __init__(self, heads: int, num_types: int, max_hops: int) -> None:
        super().__init__()
        if max_hops < 1:
            raise ValueError(f"max_hops must be positive, got {max_hops}")
        self.max_hops, self.num_types = max_hops, num_types
        self.types = nn.Embedding(num_types, heads, padding_idx=0)
        self.hops = nn.Parameter(torch.empty(max_hops, heads, heads))
        nn.init.normal_(self.hops, std=heads**-0.5)

    def table(self) -> Tensor:
        """One row for each hop and type, ``(max_hops * num_types, heads)``."""
        return (self.types.weight @ self.hops).flatten(0, 1)

    def entries(self, types: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the table for each pair, and their factors; ``(P, D * F)`` each."""
        if types.ndim != 3 or types.shape[0] != distance.shape[0]:
            shape = tuple(types.shape)
            raise ValueError(f"types must be ({distance.shape[0]}, D, F), got {shape}")
        types = types[:, : self.max_hops]
        hop = torch.arange(types.shape[1], device=types.device)[:, None]
        length = (distance.long() - 1).clamp(1, self.max_hops)[:, None, None]  # hops
        factor = (types > 0).to(self.types.weight) / (length * max(types.shape[2], 1))
        return (types.long() + hop * self.num_types).flatten(1), factor.flatten(1)

    def extra_repr(self) -> str:
        return f"max_hops={self.max_hops}"


class GraphormerBias(nn.Module):
    r"""What is added to the logits of all pairs of a graph, one of them with its token.

    .. math::
        b_{ij} = d_{\mathrm{distance}(i, j)} + c_{ij}, \qquad
        b_{ij} = t \quad\text{if } i \text{ or } j \text{ is the token of the graph}

    All of it is one sum of rows of a small table for each pair (an embedding bag), so that nothing
    is made of the size of pairs times hops times heads, and each term has no tensor of its own: of
    pairs there are the rows' indices, for as long as the sum takes, and the bias, ``P' * heads``
    numbers. It is made once for a batch; all layers share it.

    Args:
        heads: Number of heads.
        num_distances: Number of rows for distances, the unused row 0 among them; what is farther
            apart shares the last.
        edges: The term of the edges: ``PathBias``, ``DirectEdgeBias``, or None.

    Shapes:
        - blocks: all pairs inside each graph, of ``N`` nodes
        - distance: ``(P,)``, integer, in the order of pairs: one more than
          ``encodings.shortest_path_distances``, the number of edges on the shortest path from the
          query's node to the key's; 0 adds nothing
        - types: what ``edges`` takes, in the same order, such as
          ``encodings.AddShortestPathEdgeTypes`` stores
        - output: ``(P', heads)``, for the pairs of ``with_tokens(blocks)``

    Raises:
        TypeError: If ``blocks`` is no ``Blocks``, or an input no integer tensor.
        ValueError: If a shape does not fit, keys are not the queries, a distance is negative, a
            type is unknown, or one of ``edges`` and ``types`` is missing.

    Source: Ying et al., "Do Transformers Really Perform Badly for Graph Representation?", NeurIPS
        2021, and the official code, whose ``spatial_pos`` is ``distance``. It gives unreachable
        pairs a row far behind; pass any number that large.
    """

    def __init__(
        self, heads: int, num_distances: int, edges: DirectEdgeBias | PathBias | None = None
    ) -> None:
        super().__init__()
        if num_distances < 2:
            raise ValueError(f"num_distances must be at least 2, got {num_distances}")
        self.distances = nn.Embedding(num_distances, heads, padding_idx=0)
        self.token = nn.Parameter(torch.randn(1, heads))
        self.edges = edges

    def forward(self, blocks: Blocks, distance: Tensor, types: Tensor | None = None) -> Tensor:
        """Adds up; see the class for shapes."""
        check_sets(blocks)
        if not torch.equal(blocks.source_ptr, blocks.target_ptr):
            raise ValueError("blocks must be of one kind of elements: keys are not the queries")
        _check_integers("distance", distance)
        if distance.shape != (blocks.num_edges,):
            raise ValueError(f"distance must be ({blocks.num_edges},), got {tuple(distance.shape)}")
        if (self.edges is None) != (types is None):
            raise ValueError("types must be given if, and only if, the bias was made with edges")
        tables = [self.token, self.distances.weight]
        rows = [1 + distance.long().clamp(max=tables[1].shape[0] - 1)[:, None]]
        factors = [(distance > 0).to(self.token)[:, None]]
        if types is not None and self.edges is not None:
            _check_integers("types", types, self.edges.types.num_embeddings)
            row, factor = self.edges.entries(types, distance)
            rows.append(row + sum(len(table) for table in tables))
            factors.append(factor)
            tables.append(self.edges.table())
        return _summed(torch.cat(tables), torch.cat(rows, 1), torch.cat(factors, 1), blocks)


def with_tokens(blocks: Blocks) -> Blocks:
    """The same sets, each with one more element before its others."""
    every = torch.arange(blocks.num_sets + 1, device=blocks.device)
    return Blocks.from_ptr(blocks.target_ptr + every)


def is_token(blocks: Blocks) -> Tensor:
    """Which elements of ``with_tokens(blocks)`` are tokens, ``(N + S,)``, bool."""
    every = torch.arange(blocks.num_sets, device=blocks.device)
    found = torch.zeros(
        blocks.num_targets + blocks.num_sets, dtype=torch.bool, device=blocks.device
    )
    found[blocks.target_ptr[:-1] + every] = True
    return found


def _summed(table: Tensor, row: Tensor, factor: Tensor, blocks: Blocks) -> Tensor:
    """For each pair with tokens the sum of its rows; that of a token is row 0."""
    index, factors, ptr = _bags(row, factor, blocks)
    if is_transformed():  # PyTorch's bags can be differentiated once, and backwards
        return segment_reduce(table.index_select(0, index) * factors.unsqueeze(1), ptr)
    return F.embedding_bag(index, table, ptr[:-1], mode="sum", per_sample_weights=factors)


@outside_transforms
def _bags(row: Tensor, factor: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of all pairs with tokens, their factors, and where those of each pair begin."""
    token, every = is_token(blocks), with_tokens(blocks)
    has_token = token[every.target] | token[every.source]  # (P',)
    counts = has_token.long()
    is_there = factor != 0
    counts[~has_token] = is_there.sum(1)
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])  # (P' + 1,)
    index = row.new_zeros(int(ptr[-1]))
    factors = factor.new_ones(index.shape[0])
    of_nodes = torch.ones_like(index, dtype=torch.bool)
    of_nodes[ptr[:-1][has_token]] = False
    index[of_nodes], factors[of_nodes] = row[is_there], factor[is_there]
    return index, factors, ptr


def _check_integers(name: str, x: Tensor, end: int | None = None) -> None:
    if not isinstance(x, Tensor) or x.is_floating_point() or x.dtype == torch.bool:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be an integer tensor, got {got}")
    # Values too: they are rows of a table, and a bias is made once for a batch.
    if x.numel() and (int(x.min()) < 0 or (end is not None and int(x.max()) >= end)):
        bounds = "not be negative" if end is None else f"lie in [0, {end})"
        raise ValueError(f"{name} must {bounds}, got {int(x.min())} to {int(x.max())}")
