"""The hand-written GATv2 attention computes what the definition says, for any number of threads."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from benchmarks.peers.ours import message, score
from benchmarks.yardstick.gatv2 import Structure, hand_written_attention
from graphattn import EdgeAttention, Edges

NUM_NODES = 300


@pytest.fixture(autouse=True)
def _one_thread_afterwards() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def inputs() -> tuple[Edges, list[Tensor]]:
    source = torch.randint(NUM_NODES, (4000,))
    target = (NUM_NODES // 2 * torch.rand(4000).square()).long()  # hubs, and nodes without edges
    edges = Edges.from_edge_index(torch.stack([source, target]), NUM_NODES)
    tensors = [torch.randn(NUM_NODES, 128), torch.randn(NUM_NODES, 128), torch.randn(8, 16) / 4]
    return edges, [tensor.requires_grad_() for tensor in tensors]


def test_it_gives_outputs_and_gradients_of_the_definition_in_float64() -> None:
    edges, tensors = inputs()
    cotangent = torch.randn(NUM_NODES, 128)
    out = hand_written_attention(Structure.of(edges), *tensors)
    ours = [out, *torch.autograd.grad(out, tensors, cotangent)]

    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    attend = EdgeAttention(
        score,
        message,
        target=["receiver"],
        source=["sender"],
        shared=["attention"],
        backend="reference",
    )
    sender, receiver = (tensor.unflatten(1, (8, 16)) for tensor in wide[:2])
    expected = attend(edges, sender=sender, receiver=receiver, attention=wide[2]).flatten(1)
    theirs = [expected, *torch.autograd.grad(expected, wide, cotangent.double())]
    for own, wanted in zip(ours, theirs, strict=True):
        # Gradients of the attention vector are sums over 4,000 edges of both signs.
        torch.testing.assert_close(own.double(), wanted, rtol=1e-5, atol=1e-4)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    edges, tensors = inputs()
    structure, cotangent = Structure.of(edges), torch.randn(NUM_NODES, 128)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        out = hand_written_attention(structure, *tensors)
        results.append([out, *torch.autograd.grad(out, tensors, cotangent)])
    for result in results[1:]:
        for own, wanted in zip(result, results[0], strict=True):
            assert torch.equal(own, wanted)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(NUM_NODES, 64), torch.zeros(128, NUM_NODES).t(), torch.zeros(3, 128)]
)
def test_features_that_do_not_fit_are_refused(wrong: Tensor) -> None:
    edges, (_, target, attention) = inputs()
    with pytest.raises(ValueError, match=r"source must be \(300, 128\), float32, contiguous, got"):
        hand_written_attention(Structure.of(edges), wrong, target, attention)
