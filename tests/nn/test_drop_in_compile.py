"""The drop-in layers under `torch.compile`: whole graphs, same values, new sizes."""

from collections.abc import Iterator

import pytest
import torch
from drop_in_cases import LAYERS, Call, assert_same, layer_pair, run
from drop_in_graphs import bipartite_edges


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_compiles_to_one_graph_with_the_same_values(name: str, training: bool) -> None:
    ours, theirs = (
        layer.train(training) for layer in layer_pair(name, heads=2, edge_dim=2, dropout=0.3)
    )
    call = Call(torch.randn(9, 4), bipartite_edges(9, 9, 30), torch.randn(30, 2))
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    torch.manual_seed(3)
    output = compiled(call.x, call.edge_index, call.edge_attr)
    output.square().sum().backward()
    gradients = {key: parameter.grad for key, parameter in ours.named_parameters()}
    torch.manual_seed(3)
    expected = theirs(call.x, call.edge_index, call.edge_attr)
    expected.square().sum().backward()
    torch.testing.assert_close(output, expected)
    for key, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[key], parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_a_compiled_layer_takes_graphs_of_other_sizes(name: str) -> None:
    ours, theirs = layer_pair(name, heads=2)
    compiled = torch.compile(ours, backend="eager", fullgraph=True)
    for num_nodes, num_edges in ((9, 30), (12, 41), (5, 17), (9, 30)):
        x, edge_index = torch.randn(num_nodes, 4), bipartite_edges(num_nodes, num_nodes, num_edges)
        torch.testing.assert_close(compiled(x, edge_index), theirs(x, edge_index))


@pytest.mark.skipif(
    " " in torch.__file__, reason="PyTorch's inductor cannot build below a path with a space"
)
def test_compiles_with_the_default_backend() -> None:
    ours, theirs = layer_pair("GATv2Conv", heads=2)
    call = Call(torch.randn(9, 4), bipartite_edges(9, 9, 30))
    compiled = run(torch.compile(ours, fullgraph=True), call)
    # The compiled module calls its parameters by other names.
    compiled.gradients.update(
        {key: compiled.gradients.pop(f"_orig_mod.{key}") for key, _ in ours.named_parameters()}
    )
    assert_same(compiled, run(theirs, call))
