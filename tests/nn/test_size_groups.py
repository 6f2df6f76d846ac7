"""Which sets attend in dense batches, and that each result stands where its query does."""

import gc
import math
import weakref

import pytest
import torch
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn import dot_product_attention
from graphattn.nn.sets import dot_product
from graphattn.nn.sets.dot_product import attend
from graphattn.nn.sets.size_groups import SizeGroups, size_groups


def blocks_of(queries: list[int], keys: list[int]) -> Blocks:
    return Blocks.from_ptr(*(torch.tensor([0, *own]).cumsum(0) for own in (queries, keys)))


QUERIES, KEYS = [20, 1, 12, 20, 0, 3, 12, 12, 20, 40], [20, 5, 13, 20, 3, 0, 13, 12, 21, 40]


def test_sets_of_one_size_are_dense_where_they_have_many_pairs() -> None:
    assert SizeGroups(blocks_of(QUERIES, KEYS), 144, 300).counts == [2, 2, 1, 1]
    assert SizeGroups(blocks_of(QUERIES, KEYS), 144, 800).counts == [2, 1]
    assert SizeGroups(blocks_of(QUERIES, KEYS), 401, 0).counts == [1, 1]
    assert SizeGroups(blocks_of(QUERIES, KEYS), 10_000, 0).counts == []
    assert SizeGroups(blocks_of([20] * 3, [30] * 3), 600, 1_800).counts == [3]
    assert SizeGroups(blocks_of([20] * 3, [30] * 3), 600, 1_801).counts == []
    assert SizeGroups(blocks_of([20] * 3, [30] * 3), 601, 0).counts == []
    assert SizeGroups(blocks_of([20] * 3, [30, 30, 31]), 600, 1_000).counts == [2]
    assert SizeGroups(blocks_of([], []), 0, 0).counts == []


@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        (QUERIES, KEYS),
        ([40, 40], [40, 40]),
        ([30, 30], [40, 40]),
        ([2, 40], [2, 40]),
        ([40, 2, 40], [41, 2, 41]),
    ],
    ids=["mixed", "one size", "one size of each", "in order", "out of order"],
)
def test_grouped_sets_give_what_a_walk_over_pairs_gives(
    queries: list[int], keys: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dot_product, "_QUERIES", math.inf)  # as on a GPU
    blocks = blocks_of(queries, keys)
    shapes = [(blocks.num_targets, 8, 4), (blocks.num_sources, 8, 4), (blocks.num_sources, 8, 4)]
    query, key, value = (torch.randn(shape, requires_grad=True) for shape in shapes)
    assert size_groups(blocks, 144, 625).counts
    out = dot_product_attention(blocks, query, key, value)
    expected = attend(blocks, query=query, key=key, value=value)
    assert_close(out, expected)
    cotangent = torch.randn_like(out)
    found = torch.autograd.grad(out, [query, key, value], cotangent)
    wanted = torch.autograd.grad(expected, [query, key, value], cotangent)
    for one, another in zip(found, wanted, strict=True):
        assert_close(one, another)


def test_groups_are_made_once_and_live_as_long_as_their_structure() -> None:
    for blocks in (blocks_of(QUERIES, KEYS), blocks_of([1, 2], [1, 2])):
        assert size_groups(blocks, 144, 300) is size_groups(blocks, 144, 300)
    known = weakref.ref(size_groups(blocks, 144, 300))
    del blocks
    gc.collect()
    assert known() is None
