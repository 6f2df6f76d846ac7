"""The drop-in layers inside PyTorch Geometric: heterogeneous models, Sequential, summary."""

from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, SELF_LOOPING, layer_pair, layer_types
from drop_in_graphs import bipartite_edges
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import HeteroConv, Sequential, global_mean_pool, summary, to_hetero

EdgeType = tuple[str, str, str]

WRITES: EdgeType = ("author", "writes", "paper")
WRITTEN: EdgeType = ("paper", "written_by", "author")
CITES: EdgeType = ("paper", "cites", "paper")


@pytest.fixture
def features() -> dict[str, Tensor]:
    return {"author": torch.randn(5, 6), "paper": torch.randn(8, 4)}


@pytest.fixture
def edges() -> dict[EdgeType, Tensor]:
    return {
        WRITES: bipartite_edges(5, 8, 16),
        WRITTEN: bipartite_edges(8, 5, 18),
        CITES: bipartite_edges(8, 8, 20),
    }


def _without_loops(name: str) -> dict[str, Any]:
    return {"add_self_loops": False} if name in SELF_LOOPING else {}


def _compare_models(ours: nn.Module, theirs: nn.Module, *arguments: Any) -> None:
    """Same parameters, then same dictionaries of outputs and same gradients."""
    results = []
    for model in (ours, theirs):
        torch.manual_seed(0)
        model(*arguments)  # lazy parameters are drawn here
    ours.load_state_dict(theirs.state_dict())
    for model in (ours, theirs):
        outputs = model(*arguments)
        sum(output.square().sum() for output in outputs.values()).backward()
        results.append((outputs, {key: p.grad for key, p in model.named_parameters()}))
    (our_outputs, our_gradients), (outputs, gradients) = results
    assert our_outputs.keys() == outputs.keys()
    for key, output in outputs.items():
        torch.testing.assert_close(our_outputs[key], output, rtol=1e-5, atol=1e-5)
    assert our_gradients.keys() == gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(our_gradients[key], gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_hetero_conv(name: str, features: dict[str, Tensor], edges: dict[EdgeType, Tensor]) -> None:
    models = []
    for kind in layer_types(name):
        convolutions = {
            WRITES: kind((-1, -1), 3, heads=2, **_without_loops(name)),
            WRITTEN: kind((4, 6), 3, heads=2, **_without_loops(name)),
            CITES: kind(4, 3, heads=2),
        }
        models.append(HeteroConv(convolutions, aggr="sum"))
    _compare_models(*models, features, edges)


@pytest.mark.parametrize("name", LAYERS)
def test_to_hetero(name: str, features: dict[str, Tensor], edges: dict[EdgeType, Tensor]) -> None:
    class Network(nn.Module):
        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.first = kind((-1, -1), 3, heads=2, **_without_loops(name))
            self.second = kind((-1, -1), 3, **_without_loops(name))

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            hidden = self.first(x, edge_index).relu()
            output: Tensor = self.second(hidden, edge_index)
            return output

    metadata = (list(features), list(edges))
    ours, theirs = (to_hetero(Network(kind), metadata) for kind in layer_types(name))
    _compare_models(ours, theirs, features, edges)


@pytest.mark.parametrize("name", LAYERS)
def test_sequential(name: str) -> None:
    outputs = []
    for kind in layer_types(name):
        torch.manual_seed(0)
        model = Sequential(
            "x, edge_index, edge_attr",
            [
                (kind(4, 3, heads=2, edge_dim=2), "x, edge_index, edge_attr -> x"),
                nn.ReLU(inplace=True),
                (kind(6, 3), "x, edge_index -> x"),
            ],
        )
        torch.manual_seed(1)
        x, edge_attr = torch.randn(9, 4), torch.randn(30, 2)
        outputs.append((model(x, bipartite_edges(9, 9, 30), edge_attr), repr(model)))
    torch.testing.assert_close(outputs[0][0], outputs[1][0])
    assert outputs[0][1] == outputs[1][1]


@pytest.mark.parametrize("name", LAYERS)
def test_summary_prints_the_same_table(name: str) -> None:
    arguments = (torch.randn(9, 4), bipartite_edges(9, 9, 30))
    ours, theirs = (summary(layer, *arguments) for layer in layer_pair(name, heads=2))
    assert ours == theirs
    assert name in ours


@pytest.mark.parametrize("name", LAYERS)
def test_batches_of_a_loader(name: str) -> None:
    graphs = [
        Data(x=torch.randn(n, 4), edge_index=bipartite_edges(n, n, 3 * n)) for n in (3, 7, 1, 5)
    ]
    for batch in DataLoader(graphs, batch_size=3):
        ours, theirs = (
            global_mean_pool(layer(batch.x, batch.edge_index), batch.batch)
            for layer in layer_pair(name, heads=2)
        )
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_cannot_be_decomposed_say_so_and_recover(name: str) -> None:
    # A score needs all channels of a head at once, so that channels cannot be cut into parts.
    ours, theirs = layer_pair(name, heads=2)
    x, edge_index = torch.randn(9, 4), bipartite_edges(9, 9, 30)
    whole = theirs(x, edge_index)
    for layer in (ours, theirs):
        layer.decomposed_layers = 2
        with pytest.raises((AttributeError, RuntimeError, ValueError)):
            layer(x, edge_index)
        layer.decomposed_layers = 1
        torch.testing.assert_close(layer(x, edge_index), whole)
