"""A user's attention in graphs of operators: torch.compile and torch.export, without a break."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_cases import attention, bipartite, dot_attention, edge_output, inputs_for
from contract_programs import CASES
from contract_runs import RETURNED, is_square, random_edges, run
from test_contract import SETTINGS
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.kernels.cpp.launch import Kernel
from graphattn.normalizers import Sigmoid

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def graph_of(layer: nn.Module, backend: Any = "aot_eager") -> Any:
    return torch.compile(layer, backend=backend, fullgraph=True)


def edges_for(name: str) -> Edges:
    size = 9 if is_square(CASES[name]) else 7
    return Edges.from_edge_index(random_edges(9, size, 40), 9, size)


# A normalizer of each kind, and scores of three. The forward pass alone is a compiler run of its
# own; in the types and widths of the contract, all else is compiled for the contract already.
NAMES = (
    *("softmax", "sink softmax", "sigmoid with a bias", "ReLU sum", "entmax", "symmetric degree"),
    *("channel-wise", "module", "masked"),
)


@pytest.mark.parametrize("name", NAMES)
def test_gives_what_eager_mode_gives_by_the_same_kernels(name: str, launches: list[Kernel]) -> None:
    dtype, widths, _ = SETTINGS[name]
    layer, edges = CASES[name].layer(*widths).to(dtype), edges_for(name)
    inputs = CASES[name].inputs(edges, *widths, dtype)
    options = {"dropout": 0.4, **dict.fromkeys(RETURNED, True)}
    compiled = graph_of(layer)
    found = run(layer, edges, inputs, **options)
    num_launches = len(launches)
    expected = run(compiled, edges, inputs, **options)
    assert num_launches > 0
    assert len(launches) == 2 * num_launches
    gradients = {key.removeprefix("_orig_mod."): x for key, x in expected.gradients.items()}
    assert all(map(torch.equal, found.results, expected.results))
    assert found.gradients.keys() == gradients.keys()
    for key, gradient in found.gradients.items():
        torch.testing.assert_close(gradients[key], gradient)


@pytest.mark.parametrize("name", ["softmax", "sink softmax", "sigmoid with a bias"])
def test_between_pairs_of_blocks_likewise(name: str, launches: list[Kernel]) -> None:
    layer, blocks = CASES[name].layer(3, 5), Blocks.from_ptr(torch.tensor([0, 4, 4, 9]))
    inputs = CASES[name].inputs(blocks, 3, 5, torch.float32)
    options = {"dropout": 0.4, **dict.fromkeys(RETURNED, True)}
    found = run(layer, blocks, inputs, **options)
    num_launches = len(launches)
    expected = run(graph_of(layer), blocks, inputs, **options)
    assert len(launches) == 2 * num_launches > 0
    assert all(map(torch.equal, found.results, expected.results))
    gradients = {key.removeprefix("_orig_mod."): x for key, x in expected.gradients.items()}
    torch.testing.assert_close(gradients, found.gradients)


# At a break between two graphs, Dynamo reads gradients where there are none.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_what_needs_the_list_of_pairs_of_blocks_breaks_the_graph() -> None:
    layer, blocks = CASES["entmax"].layer(3, 5), Blocks.from_ptr(torch.tensor([0, 4, 9]))
    inputs = CASES["entmax"].inputs(blocks, 3, 5, torch.float32)
    compiled: Any = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(blocks, **inputs), layer(blocks, **inputs))


@pytest.mark.parametrize("name", ["softmax", "sigmoid with a bias", "entmax 1.5"])
def test_another_structure_makes_no_further_graph(name: str) -> None:
    layer, counter = CASES[name].layer(3, 5), CompileCounterWithBackend("aot_eager")
    compiled = graph_of(layer, counter)
    for size, num_edges in ((9, 40), (12, 51), (7, 30), (11, 33)):
        edges = Edges.from_edge_index(random_edges(size, size, num_edges), size, size)
        inputs = CASES[name].inputs(edges, 3, 5, torch.float32)
        inputs = {key: x.requires_grad_() for key, x in inputs.items()}  # as in the contract
        torch.testing.assert_close(compiled(edges, **inputs), layer(edges, **inputs))
    assert counter.frame_count == 2  # for the first sizes, then for any


def test_weights_that_are_passed_in_get_gradients(launches: list[Kernel]) -> None:
    layer, edges = CASES["softmax"].layer(3, 5), edges_for("softmax")
    inputs = {"value": torch.randn(9, 3, 5), "weights": torch.rand(40, 3)}
    found = run(graph_of(layer), edges, inputs)
    num_launches = len(launches)
    expected = run(layer, edges, inputs)
    assert len(launches) == 2 * num_launches > 0
    assert all(map(torch.equal, found.results, expected.results))
    assert all(torch.equal(found.gradients[name], expected.gradients[name]) for name in inputs)


def dot_product(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1)


def scaled(query: Tensor, key: Tensor, factor: float) -> Tensor:
    return dot_product(query, key) * factor


def test_a_number_that_changes_makes_another_graph() -> None:
    edges = bipartite()
    inputs = {name: inputs_for(edges)[name] for name in ("query", "key", "value")}
    layer = dot_attention(scaled, shared=["factor"])
    compiled = graph_of(layer)
    for factor in (0.5, 2.0, -1, -2):
        torch.testing.assert_close(
            compiled(edges, **inputs, factor=factor), layer(edges, **inputs, factor=factor)
        )
    layer = dot_attention(dot_product, normalizer=Sigmoid())
    compiled = graph_of(layer)
    for bias in (0.5, -1.5):
        layer.normalizer.start = bias
        torch.testing.assert_close(compiled(edges, **inputs), layer(edges, **inputs))


def test_features_of_another_width_make_another_graph() -> None:
    layer, edges = attention(edge_output=edge_output), bipartite()
    compiled = graph_of(layer)
    for heads, channels in ((1, 4), (1, 1), (3, 1)):  # of which test_attention.py has kernels
        inputs = inputs_for(edges, heads, channels)
        torch.testing.assert_close(compiled(edges, **inputs), layer(edges, **inputs))


def of_queries(layer: EdgeAttention, edges: Edges, x: dict[str, Tensor]) -> Callable[..., Tensor]:
    return lambda query: layer(edges, **{**x, "query": query})


@pytest.mark.parametrize("is_compiled", [False, True])
def test_vmap_runs_by_the_definition_or_raises(is_compiled: bool) -> None:
    edges = bipartite()
    x, queries = inputs_for(edges), torch.randn(4, edges.num_targets, 2, 3, dtype=torch.float64)

    def of_many(layer: EdgeAttention) -> Callable[[Tensor], Tensor]:
        mapped = torch.vmap(of_queries(layer, edges, x))
        return torch.compile(mapped, backend="aot_eager") if is_compiled else mapped

    one = of_queries(attention(), edges, x)
    torch.testing.assert_close(of_many(attention())(queries), torch.stack([*map(one, queries)]))
    with pytest.raises(ValueError, match=r'backend "cpp" cannot run inside torch.func, such as'):
        of_many(attention(backend="cpp"))(queries)


def twice(function: Callable[[Tensor], Tensor], query: Tensor) -> Tensor:
    leaf = query.detach().requires_grad_()
    (first,) = torch.autograd.grad(function(leaf).square().sum(), leaf, create_graph=True)
    return torch.autograd.grad(first.square().sum(), leaf)[0]


def test_second_derivatives_are_right_or_refused() -> None:
    edges = bipartite()
    x, layer = inputs_for(edges, requires_grad=True), attention()
    expected = twice(of_queries(layer, edges, x), x["query"])
    by_graph = of_queries(graph_of(layer, "eager"), edges, x)
    torch.testing.assert_close(twice(by_graph, x["query"]), expected)
    torch._dynamo.reset()
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        twice(of_queries(graph_of(layer), edges, x), x["query"])


class Holder(nn.Module):
    """Holds a structure, as a model of one graph does."""

    def __init__(self, edges: Edges) -> None:
        super().__init__()
        self.attention, self.edges = attention(), edges

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.attention(self.edges, **x)


@pytest.mark.parametrize("strict", [False, True])
def test_a_module_that_holds_a_structure_is_exported(strict: bool, launches: list[Kernel]) -> None:
    edges = bipartite()
    module, x = Holder(edges), inputs_for(edges)
    exported = torch.export.export(module, (x,), strict=strict).module()
    assert not launches
    found = exported(x)
    assert len(launches) == 1
    assert torch.equal(found, module(x))
