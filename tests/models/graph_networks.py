"""Networks on graphs and small graphs for them, with every encoding they can read."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from graphattn.encodings import AddShortestPathDistances, add_encodings
from graphattn.models.gps import GPS, LocalGPSLayer
from graphattn.models.graph_inputs import (
    FromAttribute,
    GraphInputs,
    LaplacianEncoding,
    RandomWalkEncoding,
    SummedEmbeddings,
)
from graphattn.models.graph_readout import GraphReadout
from graphattn.models.graph_transformer import OFFICIAL_CODE, GraphTransformer, GraphTransformerForm
from graphattn.models.message_passing import MessagePassingNetwork, gcn_convs, gin_convs
from graphattn.nn import (
    DegreeEncoding,
    GatedGCNLayer,
    GaussianDistance,
    GPSConv,
    octave_features,
)
from graphattn.structures import complete_edges

C = 16  # width of all networks, in four heads
SIZES = [5, 1, 3, 9, 2, 4]
NODE_VALUES, EDGE_VALUES = [6, 4], [4, 3]


def random_graph(size: int, with_edges: bool = True) -> Data:
    """A ring with a chord, if there are nodes for it; a whole number and a position for each."""
    node = torch.arange(size)
    after = torch.stack([node, (node + 1) % size])
    chord = torch.tensor([[0], [2]]) if size > 3 else after[:, :0]
    one_way = torch.cat([after, chord], dim=1)[:, : size + 1 if size > 2 else size - 1]
    one_way = one_way if with_edges else one_way[:, :0]
    edge_index = torch.cat([one_way, one_way.flip(0)], dim=1)
    x = torch.stack([torch.randint(values, (size,)) for values in NODE_VALUES], dim=1)
    kinds = [torch.randint(values, (one_way.shape[1],)) for values in EDGE_VALUES]
    pos = torch.randn(size, 3)
    return Data(
        x=x,
        edge_index=edge_index,
        edge_attr=torch.stack(kinds, dim=1).repeat(2, 1),
        y=(x[:, 0].float().mean() - one_way.shape[1] / size).view(1, 1),
        degree=edge_index[1].bincount(minlength=size),
        waves=octave_features(pos, 12),
        distance=(pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=1),
        pair_index=complete_edges(torch.tensor([0, size]), self_loops=True),
    )


def graphs() -> list[Data]:
    """The same at each call: of several sizes, one of a single node, one without edges."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        found = [random_graph(size) for size in SIZES] + [random_graph(4, with_edges=False)]
    stored = [RandomWalkEncoding(6, C).transform(), LaplacianEncoding(4, C).transform()]
    return add_encodings(found, [*stored, AddShortestPathDistances(8, 9)], progress=False)


def batch(of: Iterable[Data] | None = None) -> Batch:
    return Batch.from_data_list(list(graphs() if of is None else of))


def atoms() -> nn.Module:
    return FromAttribute("x", SummedEmbeddings(NODE_VALUES, C))


def bonds() -> nn.Module:
    return FromAttribute("edge_attr", SummedEmbeddings(EDGE_VALUES, C))


def distances() -> nn.Module:
    network = nn.Sequential(GaussianDistance(8), nn.Linear(8, C))
    return FromAttribute("distance", network)


ENCODINGS: dict[str, Callable[[], GraphInputs]] = {
    "none": lambda: GraphInputs([atoms()], [bonds()]),
    "random walks": lambda: GraphInputs([atoms(), RandomWalkEncoding(6, C)], [bonds()]),
    "eigenvectors": lambda: GraphInputs([atoms(), LaplacianEncoding(4, C)], [bonds()]),
    "degrees": lambda: GraphInputs(
        [atoms(), FromAttribute("degree", DegreeEncoding(C, 8))], [bonds()]
    ),
    "Fourier features": lambda: GraphInputs(
        [atoms(), FromAttribute("waves", nn.Linear(12, C))], [bonds()]
    ),
    "distances in space": lambda: GraphInputs([atoms()], [bonds(), distances()]),
    "shortest paths": lambda: GraphInputs(
        [atoms()], [FromAttribute("shortest_path_distance", nn.Embedding(10, C))], "pair_index"
    ),
}


def readout(reduce: str = "mean") -> GraphReadout:
    return GraphReadout(C, 1, reduce)


def without_edges(inputs: GraphInputs) -> GraphInputs:
    return GraphInputs(inputs.nodes, edge_index=inputs.edge_index)


def graph_transformer(inputs: GraphInputs, **options: object) -> nn.Module:
    form = GraphTransformerForm(**options) if options else OFFICIAL_CODE
    return GraphTransformer(inputs, readout(), C, heads=4, num_layers=2, form=form)


def gated(norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> list[nn.Module]:
    """Two layers; edges behind the second are nobody's."""
    layers = [GatedGCNLayer(C, norm=norm) for _ in range(2)]
    layers[-1].edge_norm = nn.Identity()
    return layers


def gps(inputs: GraphInputs, attention: str = "multihead", **norm: object) -> nn.Module:
    convs = gated(nn.LayerNorm if norm else nn.BatchNorm1d)
    layers = (GPSConv(C, conv, heads=4, attn_type=attention, **norm) for conv in convs)
    return GPS(inputs, readout("sum"), layers)


def message_passing(
    inputs: GraphInputs, convs: Callable[[int, int], list[nn.Module]], has_virtual_node: bool
) -> nn.Module:
    given = inputs if convs is gin_convs else without_edges(inputs)
    layers = convs(C, 2)
    return MessagePassingNetwork(given, readout(), layers, C, has_virtual_node=has_virtual_node)


NETWORKS: dict[str, Callable[[GraphInputs], nn.Module]] = {
    "GraphTransformer": graph_transformer,
    "GraphTransformer without an edge stream": lambda x: graph_transformer(without_edges(x)),
    "GPS": gps,
    "GPS, Performer": lambda x: gps(x, "performer"),
    "GPS without attention": lambda x: GPS(
        x, readout(), [LocalGPSLayer(C, conv) for conv in gated()]
    ),
    "GIN": lambda x: message_passing(x, gin_convs, False),
    "GIN with a virtual node": lambda x: message_passing(x, gin_convs, True),
    "GCN with a virtual node": lambda x: message_passing(x, gcn_convs, True),
}


def loss(network: nn.Module, given: Batch) -> Tensor:
    return (network(given) - given.y).square().mean()
