"""Layers on sets in torch.compile and torch.export: whole graphs, the same numbers, no pairs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from set_layers import SET_LAYERS, C, SetLayer, sets
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.sets.dot_product import attend, dot_product_attention

pytestmark = pytest.mark.usefixtures("fresh_compiler")

SIZES = [3, 9, 1, 12]
PAIRS = sum(size**2 for size in SIZES)  # as many as there are of nothing else
# They make structures of what they are given, or look at its values.
BROKEN = ("SetTransformerAggregation", "AgentAttention", "PNAAttention")


def compiled(case: SetLayer, layer: nn.Module, backend: Any, whole: bool = True) -> Any:
    def call(x: Tensor, blocks: Blocks) -> Tensor:
        return case.call(layer, x, blocks)

    return torch.compile(call, backend=backend, fullgraph=whole)


def gradients(call: Callable[..., Tensor], layer: nn.Module, x: Tensor, blocks: Blocks) -> Any:
    leaf = x.detach().requires_grad_()
    torch.manual_seed(1)
    out = call(leaf, blocks)
    wanted = [leaf, *layer.parameters()]
    return out, torch.autograd.grad(out.square().sum(), wanted, allow_unused=True)


# At a break between two graphs, Dynamo reads gradients where there are none.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", SET_LAYERS)
def test_a_layer_is_one_graph_that_gives_what_eager_mode_gives(name: str) -> None:
    case = SET_LAYERS[name]
    torch.manual_seed(0)
    layer, (x, blocks) = case.make(), sets(SIZES)
    counter = CompileCounterWithBackend("aot_eager")
    in_graph = compiled(case, layer, counter, whole=name not in BROKEN)
    out, found = gradients(in_graph, layer, x, blocks)
    expected, wanted = gradients(lambda *own: case.call(layer, *own), layer, x, blocks)
    assert_close(out, expected)
    for one, another in zip(found, wanted, strict=True):
        assert (one is None) == (another is None)
        if one is not None:
            assert_close(one, another)
    if name not in BROKEN:
        assert counter.frame_count == 1
        assert not has_pairs(counter)


def has_pairs(counter: CompileCounterWithBackend) -> bool:
    """Whether a tensor in a graph has a row for each pair."""
    nodes = [node for graph in counter.graphs for node in graph.graph.nodes]
    values = [node.meta.get("example_value") for node in nodes]
    return any(PAIRS in x.shape for x in values if isinstance(x, Tensor))


def test_weights_that_are_asked_for_are_as_many_as_pairs() -> None:
    x, blocks = sets(SIZES)
    counter = CompileCounterWithBackend("aot_eager")
    heads = x.unflatten(1, (2, -1))
    given = {"query": heads, "key": heads, "value": heads, "return_weights": True}
    found = torch.compile(attend, backend=counter, fullgraph=True)(blocks, **given)
    assert all(map(torch.equal, found, attend(blocks, **given)))
    assert has_pairs(counter)


@pytest.mark.parametrize("name", ["SetTransformer", "Perceiver", "LinearAttention", "GPSConv"])
def test_other_sets_make_one_further_graph(name: str) -> None:
    case, counter = SET_LAYERS[name], CompileCounterWithBackend("aot_eager")
    layer = case.make()
    in_graph = compiled(case, layer, counter)
    for sizes in ([20, 25], [9, 31, 17], [30, 12, 40, 18], [26, 15]):
        x, blocks = sets(sizes)
        assert_close(in_graph(x, blocks), case.call(layer, x, blocks))
    assert counter.frame_count == 2  # for the first sizes, then for any


@pytest.mark.parametrize("num_queries", [6, 1], ids=["by the kernel", "by the program"])
def test_dropout_is_that_of_eager_mode(num_queries: int) -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 40, 60])).seeds(num_queries)
    given = [torch.randn(n, 2, 4) for n in (blocks.num_targets, 60, 60)]
    counter = CompileCounterWithBackend("aot_eager")
    in_graph = torch.compile(dot_product_attention, backend=counter, fullgraph=True)
    for dropout in (0.3, 0.6, 0.1):
        torch.manual_seed(0)
        expected = dot_product_attention(blocks, *given, dropout)
        torch.manual_seed(0)
        assert torch.equal(in_graph(blocks, *given, dropout), expected)
        assert not torch.equal(in_graph(blocks, *given, dropout), expected)  # drawn anew
    names = [str(node.target) for graph in counter.graphs for node in graph.graph.nodes]
    operator = "block_attention" if num_queries == 6 else "edge_attention"
    assert f"graphattn.{operator}.default" in names


class Fixed(nn.Module):
    """Attends in the same sets at each call."""

    def __init__(self, layer: nn.Module, blocks: Blocks) -> None:
        super().__init__()
        self.layer, self.blocks = layer, blocks

    def forward(self, x: Tensor) -> Tensor:
        return SET_LAYERS["ISAB"].call(self.layer, x, self.blocks)


@pytest.mark.parametrize("strict", [False, True])
def test_a_layer_is_exported(strict: bool) -> None:
    x, blocks = sets(SIZES)
    module = Fixed(SET_LAYERS["ISAB"].make(), blocks)
    exported = torch.export.export(module, (x,), strict=strict).module()
    for given in (x, torch.randn(sum(SIZES), C)):
        assert torch.equal(exported(given), module(given))
