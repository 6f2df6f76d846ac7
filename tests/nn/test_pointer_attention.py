"""Pointers: distributions over the elements of a set."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.sets.pointer_attention import PointerAttention, chosen

QUERIES, KEYS = [2, 1, 0, 3], [4, 1, 2, 5]


def sets() -> tuple[Tensor, Tensor, Blocks]:
    borders = [torch.tensor([0, *sizes]).cumsum(0) for sizes in (QUERIES, KEYS)]
    return torch.randn(sum(QUERIES), 3), torch.randn(sum(KEYS), 4), Blocks.from_ptr(*borders)


def by_hand(layer: PointerAttention, query: Tensor, key: Tensor) -> Tensor:
    hidden = layer.query(query)[:, None] + layer.key(key)[None]
    return hidden.tanh() @ layer.attention


def test_it_is_the_formula_set_by_set_gradients_included() -> None:
    layer = PointerAttention(3, 4, 6)
    query, key, blocks = sets()
    query.requires_grad_()
    key.requires_grad_()
    found, glimpse = layer(query, key, blocks, return_glimpse=True)
    parts = [
        (by_hand(layer, own, elements).log_softmax(1), elements)
        for own, elements in zip(query.split(QUERIES), key.split(KEYS), strict=True)
    ]
    expected = torch.cat([part.flatten() for part, _ in parts])
    assert_close(found, expected)
    assert_close(glimpse, torch.cat([part.exp() @ elements for part, elements in parts]))
    inputs = [query, key, *layer.parameters()]
    cotangent = torch.randn_like(found)
    own = torch.autograd.grad(found, inputs, cotangent)
    for one, another in zip(own, torch.autograd.grad(expected, inputs, cotangent), strict=True):
        assert_close(one, another)


def test_what_is_not_allowed_has_no_probability() -> None:
    layer = PointerAttention(3, 4, 6)
    query, key, blocks = sets()
    allowed = torch.ones(blocks.num_edges)
    allowed[:2] = 0.0  # two of four elements, for the first query
    allowed[8] = 0.0  # the only element of the second set
    found, glimpse = layer(query, key, blocks, allowed, return_glimpse=True)
    assert_close(found[2:4], by_hand(layer, query[:1], key[2:4])[0].log_softmax(0))
    assert (found[allowed == 0] == -torch.inf).all()
    assert torch.equal(glimpse[2], torch.zeros(4))
    found[allowed > 0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_far_apart_scores_keep_their_logarithms() -> None:
    layer = PointerAttention(3, 4, 6)
    query, key, blocks = sets()
    with torch.no_grad():
        layer.attention.mul_(1e4)
    found = layer(query, key, blocks)
    assert found.isfinite().all()
    assert found.min() < -200  # whose exponential is zero


def test_chosen_finds_the_pair_of_each_query() -> None:
    layer = PointerAttention(3, 4, 6)
    query, key, blocks = sets()
    found = layer(query, key, blocks)
    choices = torch.tensor([3, 0, 4, 7, 11, 9])
    is_pair = choices[blocks.target] == blocks.source
    assert torch.equal(chosen(found, choices, blocks), found[is_pair])


def test_bad_input_is_named() -> None:
    layer = PointerAttention(3, 4, 6)
    query, key, blocks = sets()
    with pytest.raises(ValueError, match=r"query must be \(6, 3\), got \(5, 3\)"):
        layer(query[1:], key, blocks)
    with pytest.raises(TypeError, match=r"key must be a floating-point tensor, got torch\.int64"):
        layer(query, key.long(), blocks)
    with pytest.raises(ValueError, match=r"allowed must be \(24,\), one for each pair, got \(6,\)"):
        layer(query, key, blocks, torch.ones(6))
    with pytest.raises(TypeError, match="allowed must be a tensor, got list"):
        layer(query, key, blocks, [1.0] * 24)
    found = layer(query, key, blocks)
    with pytest.raises(ValueError, match=r"choices\[2\] must be one of its own set, in \["):
        chosen(found, torch.tensor([3, 0, 5, 7, 11, 9]), blocks)
    with pytest.raises(TypeError, match=r"choices must be an int64 tensor, got torch\.float32"):
        chosen(found, torch.zeros(6), blocks)
    with pytest.raises(ValueError, match=r"log_probability must be \(24,\), got \(23,\)"):
        chosen(found[1:], torch.zeros(6).long(), blocks)
