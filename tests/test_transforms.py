"""Structures made inside ``torch.func``, and kept after it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks, EdgeAttention, Edges
from graphattn.nn import GATConv


def score(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1)


def message(value: Tensor) -> Tensor:
    return value


attend = EdgeAttention(score, message, target=["query"], source=["key", "value"])
PTR = torch.tensor([0, 3, 5])
STRUCTURES: dict[str, Callable[[], Any]] = {
    "edges": lambda: Edges.from_edge_index(torch.tensor([[0, 1, 4], [1, 2, 2]]), 5),
    "edges with loops": lambda: Edges.from_edge_index(
        torch.tensor([[0, 1, 4], [1, 2, 2]]), 5, self_loops=True
    ),
    "blocks": lambda: Blocks.from_ptr(PTR),
    "seeds": lambda: Blocks.from_ptr(PTR).seeds(2).transposed(),
    "blocks of a batch": lambda: Blocks.from_batch(torch.arange(5) // 3),
}


@pytest.mark.parametrize("made_inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_work_inside_transforms_and_after_them(name: str, made_inside: bool) -> None:
    structure = STRUCTURES[name]()
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    keys = torch.randn(structure.num_sources, 2, 4, dtype=torch.float64)

    def total(x: Tensor) -> Tensor:
        own = STRUCTURES[name]() if made_inside else structure
        return attend(own, query=x, key=keys, value=keys).square().sum()

    found = torch.func.hessian(total)(x)
    assert_close(found, torch.autograd.functional.hessian(total, x))
    # What the structure keeps was not made in the transform.
    assert_close(torch.func.grad(total)(x), torch.autograd.functional.jacobian(total, x))
    assert structure.by_target.ptr.tolist() == STRUCTURES[name]().by_target.ptr.tolist()
    assert structure.by_source.ptr.tolist() == STRUCTURES[name]().by_source.ptr.tolist()


def test_groups_of_a_structure_may_be_made_inside() -> None:
    for make in STRUCTURES.values():
        structure = make()

        def total(x: Tensor, structure: Any = structure) -> Tensor:
            return (x * structure.by_target.ptr[-1] * structure.by_source.ptr[-1]).sum()

        torch.func.grad(total)(torch.ones(1))
        assert structure.by_source.ptr.tolist() == make().by_source.ptr.tolist()


def test_a_layer_takes_an_edge_list_inside_transforms() -> None:
    layer, x = GATConv(4, 3).double(), torch.randn(5, 4, dtype=torch.float64)

    def total(x: Tensor) -> Tensor:
        path = torch.arange(4)
        return layer(x, torch.stack([path, path + 1])).square().sum()

    assert_close(torch.func.hessian(total)(x), torch.autograd.functional.hessian(total, x))


def test_mapped_indices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must not be mapped by torch\.vmap, got one of \(3,\)"):
        torch.vmap(lambda ptr: Blocks.from_ptr(ptr).num_edges)(PTR.expand(2, -1))
