"""Weights of attention inside networks: those that it uses; the network stays as it was."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch_geometric.data import Batch, Data

pytest.importorskip("matplotlib")

from graphattn import Blocks
from graphattn.models.gps import GPS
from graphattn.models.graph_inputs import FromAttribute, GraphInputs
from graphattn.models.graph_readout import GraphReadout
from graphattn.models.graph_transformer import GraphTransformer
from graphattn.nn import GatedGCNLayer, GPSConv
from graphattn.plot import weights_of_layers

SIZES = (4, 1, 3)


def batch() -> Batch:
    graphs = []
    for size in SIZES:
        ends = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
        edge_index = torch.cat([ends, ends.flip(0)], dim=1)
        edge_attr = torch.randn(edge_index.shape[1], 16)
        graphs.append(Data(torch.randn(size, 16), edge_index, edge_attr))
    return Batch.from_data_list(graphs)


def inputs() -> GraphInputs:
    return GraphInputs(
        [FromAttribute("x", nn.Identity())], [FromAttribute("edge_attr", nn.Identity())]
    )


def gps(**options: object) -> GPS:
    layers = [GPSConv(16, GatedGCNLayer(16), heads=2, **options) for _ in range(2)]
    return GPS(inputs(), GraphReadout(16, 1), layers)


def dense_weights(layer: GPSConv, x: Tensor) -> Tensor:
    """Of one graph, as PyTorch has them: query, key, head."""
    _, weights = layer.attn(x[None], x[None], x[None], average_attn_weights=False)
    return weights[0].permute(1, 2, 0)


def test_weights_of_gps_are_those_of_pytorch() -> None:
    network, graphs = gps().eval(), batch()
    first, second = weights_of_layers(network, graphs)
    assert (first.name, second.name) == ("layers.0", "layers.1")
    assert isinstance(first.structure, Blocks)
    assert first.structure.target_sizes == list(SIZES)
    parts = first.weights.split([size * size for size in SIZES])
    for own, x in zip(parts, graphs.x.split(SIZES), strict=True):
        assert_close(own.view(len(x), len(x), 2), dense_weights(network.layers[0], x))
    x, _ = network.layers[0](graphs.x, graphs.edge_index, graphs.batch, edge_attr=graphs.edge_attr)
    last = second.weights[-9:].view(3, 3, 2)
    assert_close(last, dense_weights(network.layers[1], x[-3:]))
    assert not first.weights.requires_grad


@pytest.mark.parametrize("batch_of", [lambda x: None, lambda x: torch.zeros(len(x)).long()])
def test_a_layer_may_be_called_without_blocks_and_by_name(batch_of: object) -> None:
    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = GPSConv(16, None, heads=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(edge_index=None, batch=batch_of(x), x=x)

    network, x = Caller().eval(), torch.randn(4, 16)
    [found] = weights_of_layers(network, x)
    assert_close(found.weights.view(4, 4, 2), dense_weights(network.layer, x))


def test_a_graph_transformer_has_weights_of_every_layer() -> None:
    network, graphs = GraphTransformer(inputs(), GraphReadout(16, 1), 16, 2, num_layers=2), batch()
    found = weights_of_layers(network, graphs)
    assert [layer.name for layer in found] == ["layers.0.attention", "layers.1.attention"]
    source, target = graphs.edge_index
    first = network.layers[0].attention
    parts = (
        linear(x).unflatten(1, (2, 8))
        for linear, x in (
            (first.lin_query, graphs.x[target]),
            (first.lin_key, graphs.x[source]),
            (first.lin_edge, graphs.edge_attr),
        )
    )
    exponential = math.prod(parts).sum(-1).div(8**0.5).exp()  # (E, H)
    total = torch.zeros(sum(SIZES), 2).index_add(0, target, exponential)
    assert_close(found[0].weights, exponential / total[target])
    assert torch.equal(found[0].structure.edge_index, graphs.edge_index)
    assert found[1].weights.shape == found[0].weights.shape


def test_a_network_stays_as_it_was() -> None:
    network, graphs = gps(dropout=0.5), batch()
    network.layers[1].eval()  # frozen by the user
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    weights_of_layers(network, graphs)
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert network.training
    assert network.layers[0].conv.training
    assert not network.layers[1].training
    for module in network.modules():
        assert not module._forward_pre_hooks
    with pytest.raises(ValueError, match="batch must have x"):
        weights_of_layers(network, None)
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_attention_without_weights_is_named() -> None:
    graphs = batch()
    with pytest.raises(ValueError, match=r"layers\.0\.attn must be torch\.nn\.MultiheadAttention"):
        weights_of_layers(gps(attn_type="performer", attn_kwargs={"kernel": nn.ReLU()}), graphs)
    for option in ("add_bias_kv", "add_zero_attn"):
        with pytest.raises(ValueError, match=r"layers\.0\.attn must attend to nodes alone"):
            weights_of_layers(gps(attn_kwargs={option: True}), graphs)
    with pytest.raises(ValueError, match="must call a GPSConv or a GraphTransformerLayer"):
        weights_of_layers(nn.Linear(16, 16), graphs.x)
