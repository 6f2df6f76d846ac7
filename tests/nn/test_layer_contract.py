"""What every layer promises: order means nothing, graphs do not see each other, limits hold."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drop_in_graphs import bipartite_edges
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn import testing
from graphattn.nn import GATConv, GATv2Conv, TransformerConv
from graphattn.nn.convolutions.gated_gcn_layer import GatedGCNLayer
from graphattn.nn.convolutions.matformer_conv import MatformerConv
from graphattn.nn.graph_transformers.exphormer_layer import ExphormerLayer
from graphattn.nn.graph_transformers.graph_transformer_layer import GraphTransformerLayer
from graphattn.nn.graph_transformers.grit_layer import GRITLayer
from graphattn.nn.graph_transformers.san_layer import SANLayer

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "GATConv": lambda: GATConv(4, 3, heads=2, edge_dim=2),
    "GATConv without loops": lambda: GATConv(4, 3, heads=2, edge_dim=2, add_self_loops=False),
    "GATConv with residual": lambda: GATConv(4, 3, heads=2, edge_dim=2, residual=True),
    "GATv2Conv": lambda: GATv2Conv(4, 3, heads=2, edge_dim=2),
    "GATv2Conv without loops": lambda: GATv2Conv(4, 3, heads=2, edge_dim=2, add_self_loops=False),
    "GATv2Conv with averaged heads": lambda: GATv2Conv(4, 3, heads=2, edge_dim=2, concat=False),
    "TransformerConv": lambda: TransformerConv(4, 3, heads=2, edge_dim=2),
    "TransformerConv with a gate": lambda: TransformerConv(4, 3, heads=2, edge_dim=2, beta=True),
}
# These have no weights to return, and edge features as wide as nodes; here they return nodes alone.
TRANSFORMERS: dict[str, Callable[[], Callable[..., Any]]] = {
    "GraphTransformerLayer": lambda: GraphTransformerLayer(4, 2),
    "GraphTransformerLayer, clamped": lambda: GraphTransformerLayer(4, 2, clamp=5.0),
    "GatedGCNLayer": lambda: GatedGCNLayer(4),
    "ExphormerLayer": lambda: ExphormerLayer(4, 2, edge_dim=4),
    "GRITLayer": lambda: GRITLayer(4, 2, scales_by_degree=False),
    "SANLayer": lambda: OfSigns(SANLayer(4, 2)),
    "MatformerConv": lambda: MatformerConv(4, 4, 2),
}
NUM_NODES, NUM_EDGES = 9, 30


class OfSigns(nn.Module):
    """SAN with edges that are real where their first feature is positive."""

    def __init__(self, layer: SANLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        result: Tensor = self.layer(x, edge_index, edge_attr, edge_attr[:, 0] > 0)
        return result


Graph = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> nn.Module:
    made = LAYERS[request.param]().double()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


@pytest.fixture
def graph() -> Graph:
    edge_index = bipartite_edges(NUM_NODES, NUM_NODES, NUM_EDGES)
    return torch.randn(NUM_NODES, 4).double(), edge_index, torch.randn(NUM_EDGES, 2).double()


PROMISES = [
    testing.assert_renaming_renames_outputs,
    testing.assert_order_of_edges_is_free,
    testing.assert_graphs_do_not_mix,
    testing.assert_nodes_see_their_sources_only,
]


@pytest.mark.parametrize("with_features", [True, False])
@pytest.mark.parametrize("promise", PROMISES)
def test_what_every_layer_on_graphs_promises(
    promise: Callable[..., None], with_features: bool, layer: nn.Module, graph: Graph
) -> None:
    if not with_features and isinstance(layer, TransformerConv):
        layer.lin_edge = None  # with a map for them, it asks for features
    promise(layer, *(graph if with_features else graph[:2]))


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_what_every_graph_transformer_promises(
    promise: Callable[..., None], name: str, graph: Graph
) -> None:
    promise(nodes_of(TRANSFORMERS[name]()), *graph[:2], torch.randn(NUM_EDGES, 4).double())


def nodes_of(made: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A graph transformer without its edge stream."""
    made.double().eval()

    def nodes(x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        result = made(x, edge_index, edge_attr)
        found: Tensor = result[0] if isinstance(result, tuple) else result
        return found

    return nodes


@pytest.mark.parametrize("name", [*LAYERS, *TRANSFORMERS])
def test_derivatives_forwards_are_those_backwards(name: str, graph: Graph) -> None:
    x, edge_index, edge_attr = graph
    made = LAYERS[name]().double() if name in LAYERS else nodes_of(TRANSFORMERS[name]())
    if name in TRANSFORMERS:
        edge_attr = torch.randn(NUM_EDGES, 4).double()

    def run(x: Tensor, edge_attr: Tensor) -> Tensor:
        out: Tensor = made(x, edge_index, edge_attr)
        return out

    given = (x, edge_attr)
    directions = tuple(torch.randn_like(one) for one in given)
    out, tangent = torch.func.jvp(run, given, directions)
    arriving = torch.randn_like(out)
    leaves = tuple(one.requires_grad_() for one in given)
    gradients = torch.autograd.grad((run(*leaves) * arriving).sum(), leaves)
    products = [(one * other).sum() for one, other in zip(gradients, directions, strict=True)]
    torch.testing.assert_close((tangent * arriving).sum(), torch.stack(products).sum())


def test_the_public_assertions_can_fail(graph: Graph) -> None:
    x, edge_index, _ = graph
    position = torch.arange(NUM_NODES).unsqueeze(1)
    wrong: list[tuple[Callable[..., None], Callable[..., Tensor]]] = [
        (testing.assert_renaming_renames_outputs, lambda x, _: x * position),
        (testing.assert_order_of_edges_is_free, lambda x, edges: x + edges[0, 0]),
        (testing.assert_graphs_do_not_mix, lambda x, _: x - x.mean(0)),
        (testing.assert_nodes_see_their_sources_only, lambda x, _: x.flip(0)),
    ]
    for promise, layer in wrong:
        with pytest.raises(AssertionError):
            promise(layer, x, edge_index)


def test_returned_weights_belong_to_the_returned_edges(layer: nn.Module, graph: Graph) -> None:
    x, edge_index, edge_attr = graph
    order = torch.randperm(NUM_EDGES)

    def run(order: Tensor) -> tuple[Tensor, list[tuple[Any, ...]]]:
        output, (used, weights) = layer(
            x, edge_index[:, order], edge_attr[order], return_attention_weights=True
        )
        rows = [
            (*pair, *row) for pair, row in zip(used.t().tolist(), weights.tolist(), strict=True)
        ]
        return output, rows

    output, rows = run(order)
    expected_output, expected_rows = run(torch.arange(NUM_EDGES))
    torch.testing.assert_close(output, expected_output)
    torch.testing.assert_close(torch.tensor(sorted(rows)), torch.tensor(sorted(expected_rows)))


def test_weights_follow_the_order_of_edges(layer: nn.Module, graph: Graph) -> None:
    x, edge_index, edge_attr = graph
    kept = (edge_index[0] != edge_index[1]).nonzero().flatten()
    order = kept[torch.randperm(kept.shape[0])]
    _, (_, weights) = layer(x, edge_index[:, kept], edge_attr[kept], return_attention_weights=True)
    _, (used, permuted) = layer(
        x, edge_index[:, order], edge_attr[order], return_attention_weights=True
    )
    assert torch.equal(used[:, : order.shape[0]], edge_index[:, order])
    position = torch.empty(NUM_EDGES, dtype=torch.int64)
    position[kept] = torch.arange(kept.shape[0])
    torch.testing.assert_close(permuted[: order.shape[0]], weights[position[order]])


def test_the_same_call_gives_the_same_bits(layer: nn.Module, graph: Graph) -> None:
    results = []
    for _ in range(2):
        x = graph[0].clone().requires_grad_()
        output = layer(x, *graph[1:])
        (gradient,) = torch.autograd.grad(output.square().sum(), x)
        results.append((output, gradient))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias).unflatten(1, (2, 3))  # (N, H, C)


def dense_gat(layer: Any, x: Tensor) -> Tensor:
    w = _linear(x, layer.lin.weight)
    logits = (w * layer.att_dst).sum(-1)[:, None] + (w * layer.att_src).sum(-1)[None]
    weights = F.leaky_relu(logits, 0.2).softmax(dim=1)  # (targets, sources, H)
    return torch.einsum("ijh,jhc->ihc", weights, w).flatten(1) + layer.bias


def dense_gatv2(layer: Any, x: Tensor) -> Tensor:
    source = _linear(x, layer.lin_l.weight, layer.lin_l.bias)
    target = _linear(x, layer.lin_r.weight, layer.lin_r.bias)
    logits = (F.leaky_relu(target[:, None] + source[None], 0.2) * layer.att[0]).sum(-1)
    return torch.einsum("ijh,jhc->ihc", logits.softmax(dim=1), source).flatten(1) + layer.bias


def dense_transformer(layer: Any, x: Tensor) -> Tensor:
    query, key, value = (
        _linear(x, linear.weight, linear.bias).transpose(0, 1)
        for linear in (layer.lin_query, layer.lin_key, layer.lin_value)
    )
    attended = F.scaled_dot_product_attention(query, key, value, scale=1 / math.sqrt(3))
    return attended.transpose(0, 1).flatten(1) + layer.lin_skip(x)


@pytest.mark.parametrize(
    ("kind", "dense"),
    [(GATConv, dense_gat), (GATv2Conv, dense_gatv2), (TransformerConv, dense_transformer)],
)
def test_a_complete_graph_is_dense_attention(
    kind: Any, dense: Callable[[Any, Tensor], Tensor]
) -> None:
    layer = kind(4, 3, heads=2).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    everything = torch.cartesian_prod(torch.arange(6), torch.arange(6)).t()
    cotangent = torch.randn(6, 6, dtype=torch.float64)
    results = []
    for output in (layer(x, everything), dense(layer, x)):
        tensors = [x, *layer.parameters()]
        results.append((output, *torch.autograd.grad((output * cotangent).sum(), tensors)))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("num_edges", [0, 12])
def test_an_isolated_node_keeps_what_is_its_own(num_edges: int) -> None:
    x, edge_index = torch.randn(6, 4), bipartite_edges(5, 5, num_edges)  # the last has no edge
    gat, gatv2, transformer = (
        kind(4, 3, heads=2) for kind in (GATConv, GATv2Conv, TransformerConv)
    )
    for layer in (gat, gatv2):
        nn.init.normal_(layer.bias)
    torch.testing.assert_close(gat(x, edge_index)[5], gat.lin(x[5]) + gat.bias)
    torch.testing.assert_close(gatv2(x, edge_index)[5], gatv2.lin_l(x[5]) + gatv2.bias)
    torch.testing.assert_close(transformer(x, edge_index)[5], transformer.lin_skip(x[5]))


@pytest.mark.parametrize("num_edges", [0, 12])
@pytest.mark.parametrize("kind", [GATConv, GATv2Conv])
def test_an_isolated_node_without_loops_gets_the_bias(kind: Any, num_edges: int) -> None:
    layer = kind(4, 3, heads=2, add_self_loops=False)
    nn.init.normal_(layer.bias)
    x = torch.randn(6, 4, requires_grad=True)
    output = layer(x, bipartite_edges(5, 5, num_edges))
    assert torch.equal(output[5], layer.bias)
    output.sum().backward()
    assert x.grad is not None
    assert not x.grad[5].any()
