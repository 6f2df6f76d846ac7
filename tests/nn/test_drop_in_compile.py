"""The drop-in layers in graphs of operators: whole graphs, same values, new sizes, other processes.

Every test runs the compiled kernels, or says that PyTorch Geometric's own path is taken.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, SELF_LOOPING, Call, Result, assert_same, layer_pair, run
from drop_in_graphs import bipartite_edges
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from graphattn.edges import Edges
from graphattn.kernels.cpp.launch import Kernel

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def options_for(name: str, with_features: bool) -> dict[str, Any]:
    """Options with which operators can take edge features: no loops are added."""
    if not with_features:
        return {}
    return {"edge_dim": 2, **({"add_self_loops": False} if name in SELF_LOOPING else {})}


def call_of(num_nodes: int, num_edges: int, with_features: bool = False) -> Call:
    edge_index = bipartite_edges(num_nodes, num_nodes, num_edges)
    features = torch.randn(num_edges, 2) if with_features else None
    return Call(torch.randn(num_nodes, 4), edge_index, features)


def graph_of(layer: nn.Module, backend: Any = "aot_eager") -> Any:
    return torch.compile(layer, backend=backend, fullgraph=True)


def run_graph(compiled: Any, call: Call) -> Result:
    """As ``run``; the module that is compiled calls its parameters by other names."""
    result = run(compiled, call)
    gradients = {name.removeprefix("_orig_mod."): x for name, x in result.gradients.items()}
    return Result(result.returned, gradients, result.generator_state)


@pytest.mark.parametrize(("with_features", "training"), [(False, True), (True, False)])
@pytest.mark.parametrize("name", LAYERS)
def test_compiles_to_one_graph_that_runs_the_kernels_with_the_same_values(
    name: str, with_features: bool, training: bool, launches: list[Kernel]
) -> None:
    options = options_for(name, with_features)
    pair = layer_pair(name, heads=2, dropout=0.3, **options)
    ours, theirs = (layer.train(training) for layer in pair)
    call = call_of(9, 30, with_features)
    found = run_graph(graph_of(ours), call)
    assert len(launches) == 3  # forward, backward by target, backward by source
    assert_same(found, run(theirs, call))


@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_returned_from_a_graph_where_no_loops_are_added(
    name: str, launches: list[Kernel]
) -> None:
    ours, theirs = layer_pair(name, heads=2, dropout=0.3, **options_for(name, True))
    call = call_of(9, 30, True)
    call = Call(call.x, call.edge_index, call.edge_attr, {"return_attention_weights": True})
    found = run_graph(graph_of(ours), call)
    assert len(launches) == 3
    assert_same(found, run(theirs, call))


@pytest.mark.parametrize("name", SELF_LOOPING)
@pytest.mark.parametrize("what", ["edge features", "weights", "another sum"])
def test_what_operators_cannot_do_takes_the_peers_path_in_one_graph(
    name: str, what: str, launches: list[Kernel]
) -> None:
    has_features = what == "edge features"
    aggregation = "mean" if what == "another sum" else "add"
    dimension = 2 if has_features else None
    ours, theirs = layer_pair(name, heads=2, edge_dim=dimension, aggr=aggregation)
    call = call_of(9, 30, has_features)
    if what == "weights":
        call = Call(call.x, call.edge_index, None, {"return_attention_weights": True})
    found = run_graph(graph_of(ours, "eager"), call)
    assert not launches
    assert_same(found, run(theirs, call))


@pytest.mark.parametrize("name", LAYERS)
def test_takes_an_edges_in_one_graph(name: str, launches: list[Kernel]) -> None:
    ours, theirs = layer_pair(name, heads=2)
    call = call_of(9, 30)
    edges = Edges.from_edge_index(call.edge_index, 9, 9, self_loops=name in SELF_LOOPING)
    found = graph_of(ours)(call.x, edges)
    assert len(launches) == 1
    torch.testing.assert_close(found, theirs(call.x, call.edge_index))


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_of_other_sizes_makes_no_further_graph(name: str, launches: list[Kernel]) -> None:
    ours, theirs = layer_pair(name, heads=2)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = graph_of(ours, counter)
    for num_nodes, num_edges in ((9, 30), (12, 41), (5, 17), (9, 30)):
        call = call_of(num_nodes, num_edges)
        x = call.x.clone().requires_grad_()
        torch._dynamo.mark_dynamic(x, 0)
        torch._dynamo.mark_dynamic(call.edge_index, 1)
        output = compiled(x, call.edge_index)
        torch.testing.assert_close(output, theirs(call.x, call.edge_index))
        output.sum().backward()
    assert counter.frame_count == 1
    assert len(launches) == 4 * 3


def test_a_structure_is_built_once_for_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Edges] = []
    build = Edges.__init__

    def counted(edges: Edges, *arguments: Any, **options: Any) -> None:
        built.append(edges)
        build(edges, *arguments, **options)

    monkeypatch.setattr(Edges, "__init__", counted)
    ours, theirs = layer_pair("GATv2Conv", heads=2, dropout=0.3)
    call, compiled = call_of(9, 30), graph_of(ours)
    for _ in range(3):
        found = run_graph(compiled, call)
    assert len(built) == 1
    assert_same(found, run(theirs, call))


def test_bad_edges_are_refused_when_the_graph_runs() -> None:
    ours, _ = layer_pair("GATv2Conv", heads=2)
    call, compiled = call_of(9, 30), graph_of(ours)
    compiled(call.x, call.edge_index)
    with pytest.raises(IndexError, match=r"edge_index\[0\] holds source nodes and must lie in"):
        compiled(call.x, call.edge_index + 9)


@pytest.mark.parametrize(
    ("name", "strict"), [*((name, False) for name in LAYERS), ("GATConv", True)]
)
def test_an_exported_layer_takes_graphs_of_other_sizes(
    name: str, strict: bool, launches: list[Kernel]
) -> None:
    ours, theirs = layer_pair(name, heads=2)
    call = call_of(9, 30)
    sizes = ({0: torch.export.Dim("nodes")}, {1: torch.export.Dim("edges")})
    exported = torch.export.export(
        ours, (call.x, call.edge_index), dynamic_shapes=sizes, strict=strict
    ).module()
    for other in (call, call_of(5, 17)):
        found = exported(other.x, other.edge_index)
        torch.testing.assert_close(found, theirs(other.x, other.edge_index))
    assert len(launches) == 2


def test_an_exported_layer_gives_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    ours, _ = layer_pair("GATv2Conv", heads=2)
    call = call_of(9, 30)
    exported = torch.export.export(ours, (call.x, call.edge_index))
    torch.export.save(exported, tmp_path / "layer.pt2")
    with torch.no_grad():
        torch.save((call.x, call.edge_index, ours(call.x, call.edge_index)), tmp_path / "call.pt")
    code = f"""
import torch, graphattn
x, edge_index, expected = torch.load({str(tmp_path / "call.pt")!r})
found = torch.export.load({str(tmp_path / "layer.pt2")!r}).module()(x, edge_index)
assert torch.equal(found, expected)
print("the same")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "the same\n", done.stderr


@pytest.mark.skipif(
    " " in torch.__file__, reason="PyTorch's inductor cannot build below a path with a space"
)
def test_compiles_with_the_default_backend(launches: list[Kernel]) -> None:
    ours, theirs = layer_pair("GATv2Conv", heads=2, dropout=0.3)
    call = call_of(9, 30)
    assert_same(run_graph(torch.compile(ours, fullgraph=True), call), run(theirs, call))
    assert len(launches) == 3
