"""Networks on graphs: every encoding and attention, odd graphs, saved weights, bad input."""

from pathlib import Path

import pytest
import torch
from graph_networks import (
    ENCODINGS,
    NETWORKS,
    C,
    atoms,
    batch,
    bonds,
    distances,
    gated,
    graphs,
    loss,
    readout,
)
from official import Stored, renamed
from torch import nn
from torch.testing import assert_close
from torch_geometric.data import Data
from torch_geometric.nn import GINEConv

from graphattn import Blocks
from graphattn.models.gps import GPS, LocalGPSLayer
from graphattn.models.graph_inputs import FromAttribute, GraphInputs, SummedEmbeddings
from graphattn.models.graph_readout import GraphReadout, Scaled
from graphattn.models.graph_transformer import GraphTransformer
from graphattn.models.message_passing import MessagePassingNetwork
from graphattn.training import load_weights


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return NETWORKS[request.param](ENCODINGS["random walks"]())


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_through_every_encoding(name: str, encoding: str) -> None:
    # Among the graphs are one of a single node, and one without edges.
    network, given = NETWORKS[name](ENCODINGS[encoding]()), batch()
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        adam.zero_grad()
        losses.append(loss(network, given))
        losses[-1].backward()
        for parameter_name, parameter in network.named_parameters():
            # Training on several devices waits for the gradients of all parameters.
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
        adam.step()
    assert losses[-1] < losses[0]
    assert network(given).shape == (given.num_graphs, 1)


def test_a_graph_gives_the_same_alone_and_beside_others(network: nn.Module) -> None:
    network.eval()
    together = network(batch())
    for graph, expected in zip(graphs(), together, strict=True):
        assert_close(network(batch([graph]))[0], expected, atol=1e-5, rtol=1e-5)
        assert_close(network(graph)[0], expected, atol=1e-5, rtol=1e-5)  # no batch at all


def test_names_of_nodes_do_not_matter(network: nn.Module) -> None:
    network.eval()
    graph = graphs()[3]
    order = torch.randperm(graph.num_nodes)
    renamed_graph = Data(
        x=graph.x[order],
        random_walk_pe=graph.random_walk_pe[order],
        edge_index=order.argsort()[graph.edge_index],
        edge_attr=graph.edge_attr,
    )
    assert_close(network(renamed_graph), network(graph), atol=1e-5, rtol=1e-5)


def test_mixed_precision_trains_and_stays_near(network: nn.Module) -> None:
    given = batch()
    expected = loss(network, given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = loss(network, given)
    low.backward()
    assert_close(low.float(), expected, atol=0.1, rtol=0.1)
    assert all(x.grad.isfinite().all() for x in network.parameters() if x.grad is not None)


def test_embeddings_are_those_of_ogb() -> None:
    pytest.importorskip("ogb")
    from ogb.graphproppred.mol_encoder import AtomEncoder
    from ogb.utils.features import get_atom_feature_dims

    sizes = get_atom_feature_dims()
    theirs, ours = AtomEncoder(C), SummedEmbeddings(sizes, C)
    for parameter, official in zip(ours.parameters(), theirs.parameters(), strict=True):
        parameter.data.copy_(official.data)
    x = torch.stack([torch.randint(size, (30,)) for size in sizes], dim=1)
    assert_close(ours(x), theirs(x))
    assert_close(ours(x.to(torch.uint8)), ours(x))


def test_without_attention_it_is_the_authors_layer(golden_folder: Path) -> None:
    stored = Stored(golden_folder / "graphgps/layer_5_GINE_None_bn.npz", torch.float64)
    maps = nn.Sequential(nn.Linear(C, C), nn.ReLU(), nn.Linear(C, C))
    layer = LocalGPSLayer(C, GINEConv(maps))
    names = renamed(
        ("norm1_local.", "local_norm."), ("norm2.", "output_norm."), ("local_model.", "conv."),
        ("ff_linear1.", "mlp.0."), ("ff_linear2.", "mlp.3."),
    )  # fmt: skip
    unused = "norm1_attn"  # which the official layer has all the same

    def translated(official: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: x for name, x in names(official).items() if unused not in name}

    stored.load(layer, translated)
    layer.load_state_dict(translated(stored.part("buffer")), strict=False)
    stored.check(layer, {"out": layer(**stored.inputs)}, translated)


def test_weights_of_another_architecture_are_refused(network: nn.Module, tmp_path: Path) -> None:
    other = GPS(GraphInputs([atoms(), distances()]), readout(), [nn.Linear(C, C)])
    path = tmp_path / "weights.pt"
    torch.save(other.state_dict(), path)
    with pytest.raises(ValueError, match="is of another architecture") as caught:
        load_weights(network, path)
    lacks, unknown = str(caught.value).split("has unknown")
    assert "'inputs.nodes.1.network.0.running_mean'" in lacks
    assert "'inputs.nodes.1.network.0.means'" in unknown


def test_an_empty_graph_is_read_out_as_zeros() -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 2, 2]))
    head = GraphReadout(C, 3, num_layers=1)
    assert_close(head(torch.randn(2, C), blocks)[1], head.network[0].bias)


def test_a_scaled_network_answers_in_the_unit_asked_for() -> None:
    scaled = Scaled(nn.Identity(), torch.tensor([5.0, -1.0]), torch.tensor([2.0, 1.0]))
    answer = scaled(torch.tensor([[1.0, 3.0]], dtype=torch.bfloat16))
    assert_close(answer, torch.tensor([[7.0, 2.0]]))
    assert scaled.state_dict().keys() == {"mean", "deviation"}
    with pytest.raises(ValueError, match=r"mean and deviation must be \(T,\), got \(2,\) and \(\)"):
        Scaled(nn.Identity(), torch.zeros(2), torch.tensor(1.0))


def test_bad_input_is_named() -> None:
    inputs, given = ENCODINGS["random walks"](), batch()
    del given.random_walk_pe
    with pytest.raises(ValueError, match="batch must have random_walk_pe, got DataBatch"):
        inputs(given)
    with pytest.raises(ValueError, match="nodes must hold at least one module, got none"):
        GraphInputs([])
    with pytest.raises(
        ValueError, match=r"parts must have one shape, got \(28, 16\) and \(28, 8\)"
    ):
        GraphInputs([atoms(), FromAttribute("waves", nn.Linear(12, 8))])(batch())
    with pytest.raises(TypeError, match=r"x must be an integer tensor, got torch.float32"):
        SummedEmbeddings([3], C)(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"x must be \(N, 2\), got \(2, 1\)"):
        SummedEmbeddings([3, 4], C)(torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(IndexError):
        SummedEmbeddings([3, 4], C)(torch.tensor([[3, 0]]))
    with pytest.raises(ValueError, match="sizes must hold at least one number, got none"):
        SummedEmbeddings([], C)
    with pytest.raises(ValueError, match='reduce must be "mean", "sum", "max" or "min"'):
        GraphReadout(C, 1, "median")
    with pytest.raises(ValueError, match="num_layers must be at least 1"):
        GraphReadout(4, 1, num_layers=4)
    with pytest.raises(ValueError, match="heads must divide channels = 16, got 3"):
        GraphTransformer(GraphInputs([atoms()], [bonds()]), readout(), C, heads=3, num_layers=1)
    with pytest.raises(ValueError, match="num_layers must be at least 1, got 0"):
        GraphTransformer(GraphInputs([atoms()]), readout(), C, 4, 0)
    with pytest.raises(ValueError, match="layers must hold at least one layer, got none"):
        GPS(GraphInputs([atoms()]), readout(), [])
    with pytest.raises(ValueError, match="convs must hold at least one layer, got none"):
        MessagePassingNetwork(GraphInputs([atoms()]), readout(), [], C)
    with pytest.raises(ValueError, match=r"x must be \(28, 16\), got \(28, 8\)"):
        GPS(GraphInputs([FromAttribute("waves", nn.Linear(12, 8))]), readout(), gated())(batch())
