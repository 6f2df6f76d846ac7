"""Structures inside ``torch.func`` and inference mode, kept after it; gradients in batches."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.testing import assert_close

from graphattn import Blocks, EdgeAttention, Edges, segment_softmax
from graphattn.nn import SAB, GATConv, PNAAttention


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


@pytest.mark.parametrize("made_inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_of_inference_mode_can_be_trained_with(name: str, made_inside: bool) -> None:
    structure = STRUCTURES[name]()
    with torch.inference_mode():
        if made_inside:
            structure = STRUCTURES[name]()
        rows = structure.by_target, structure.by_source
    logits = torch.randn(structure.num_edges, 2, requires_grad=True)
    segment_softmax(logits, rows[0].ptr).square().sum().backward()
    assert logits.grad is not None
    assert logits.grad.any()
    kept = [own for group in (*rows, structure) for own in vars(group).values()]
    tensors = [own for own in kept if isinstance(own, Tensor)]
    assert len(tensors) > 6
    assert not any(own.is_inference() for own in tensors)


def test_grouped_sets_of_inference_mode_can_be_trained_with() -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 40, 43, 83]))
    layer, x = SAB(8, 8), torch.randn(83, 8)
    with torch.inference_mode():
        expected = layer(x, blocks=blocks)
    result = layer(x, blocks=blocks)
    result.sum().backward()
    assert_close(result, expected.clone())


def layers() -> dict[str, Callable[[Tensor], Tensor]]:
    """Layers whose edges and sets are given, of nodes ``(5, 4)``."""
    path = torch.stack([torch.arange(4), torch.arange(1, 5)])
    convolution, blocks = GATConv(4, 3).double(), Blocks.from_ptr(PTR)
    block, statistics = SAB(4, 4).double(), PNAAttention(4, 2).double()
    return {
        "GATConv": lambda x: convolution(x, path),
        "SAB": lambda x: block(x, blocks=blocks),
        "PNAAttention": lambda x: statistics(x, blocks),
    }


@pytest.mark.parametrize("name", layers())
def test_gradients_come_in_batches_and_backward_passes_in_transforms(name: str) -> None:
    run, x = layers()[name], torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    result = run(x)
    arriving = torch.randn(2, *result.shape, dtype=torch.float64)

    def gradients(arriving: Tensor, **options: Any) -> Tensor:
        return torch.autograd.grad(result, x, arriving, retain_graph=True, **options)[0]

    expected = torch.stack([gradients(own) for own in arriving])
    assert_close(gradients(arriving, is_grads_batched=True), expected)
    assert_close(gradients(arriving, is_grads_batched=True, create_graph=True), expected)
    jacobian = torch.autograd.functional.jacobian(run, x)
    assert_close(torch.autograd.functional.jacobian(run, x, vectorize=True), jacobian)
    with forward_ad.dual_level():  # the backward pass is linear in what arrives
        dual = gradients(forward_ad.make_dual(arriving[0], arriving[1]))
        assert_close(forward_ad.unpack_dual(dual).tangent, expected[1])
    if name != "PNAAttention":  # which makes messages anew in the backward pass, by kernels
        assert_close(torch.vmap(gradients)(arriving), expected)


def test_a_graph_of_operators_is_not_differentiated_forwards() -> None:
    path = torch.stack([torch.arange(4), torch.arange(1, 5)])
    layer, x = GATConv(4, 3).double(), torch.randn(5, 4, dtype=torch.float64)
    graph = torch.export.export(layer, (x, path)).module()
    assert_close(graph(x, path), layer(x, path))
    torch.func.jvp(lambda x: layer(x, path), (x,), (x,))
    with pytest.raises(NotImplementedError, match="has no forward derivative: call the module"):
        torch.func.jvp(lambda x: graph(x, path), (x,), (x,))


def test_mapped_indices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must not be mapped by torch\.vmap, got one of \(3,\)"):
        torch.vmap(lambda ptr: Blocks.from_ptr(ptr).num_edges)(PTR.expand(2, -1))
