"""Attention of linear cost: formulas, sets apart, any order, empty sets, half precision, limits."""

from collections.abc import Callable

import pytest
import torch
from sizes import LargestTensor
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.linear.flow_attention import FlowAttention
from graphattn.nn.linear.galerkin_attention import FourierAttention, GalerkinAttention
from graphattn.nn.linear.linear_attention import (
    EfficientAttention,
    LinearAttention,
    LinearSetAttention,
    MagnitudeAwareLinearAttention,
    elu_features,
)
from graphattn.nn.linear.linformer_attention import LinformerAttention
from graphattn.nn.linear.nystrom_attention import NystromAttention
from graphattn.nn.linear.random_feature_attention import (
    PerformerAttention,
    RandomFeatureAttention,
    orthogonal_gaussian,
)
from graphattn.nn.linear.set_products import SetTiles
from graphattn.nn.sets.dot_product import dot_product_attention

H, C, D = 2, 4, 3
KINDS: dict[str, Callable[[], LinearSetAttention]] = {
    "linear": LinearAttention,
    "magnitude-aware": MagnitudeAwareLinearAttention,
    "efficient": EfficientAttention,
    "performer": lambda: PerformerAttention(C, 8),
    "random features": lambda: RandomFeatureAttention(C, H, 8),
    "flow": FlowAttention,
    "Galerkin": lambda: GalerkinAttention(C, H, D),
    "Fourier": lambda: FourierAttention(C, H),
    "Nyström": lambda: NystromAttention(5),
    "Linformer": lambda: LinformerAttention(H, 6, 500),
}
# Of queries and keys: equal and not, without queries, without keys, with many, with one.
SIZES = [(4, 4), (0, 3), (70, 40), (3, 0), (1, 1), (6, 90), (33, 64)]


@pytest.fixture(params=KINDS)
def layer(request: pytest.FixtureRequest) -> LinearSetAttention:
    made = KINDS[request.param]().double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def borders(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def sets(sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor, Blocks]:
    queries, keys = ([size[end] for size in sizes] for end in (0, 1))
    query = torch.randn(sum(queries), H, C, dtype=torch.float64, requires_grad=True)
    key = torch.randn(sum(keys), H, C, dtype=torch.float64, requires_grad=True)
    value = torch.randn(sum(keys), H, D, dtype=torch.float64, requires_grad=True)
    return query, key, value, Blocks.from_ptr(borders(queries), borders(keys))


def test_a_set_gives_the_same_alone_and_in_a_batch(layer: LinearSetAttention) -> None:
    *tensors, blocks = sets(SIZES)
    together = layer(*tensors, blocks)
    queries, keys = blocks.target_sizes, blocks.source_sizes
    splits = (x.split(own) for x, own in zip(tensors, (queries, keys, keys), strict=True))
    alone = torch.cat(
        [
            layer(*own, Blocks.from_ptr(*(borders([len(x)]) for x in own[:2])))
            for own in zip(*splits, strict=True)
        ]
    )
    assert_close(together, alone)
    inputs = [*tensors, *layer.parameters()]
    cotangent = torch.randn_like(alone)
    found = torch.autograd.grad(together, inputs, cotangent)
    for one, another in zip(found, torch.autograd.grad(alone, inputs, cotangent), strict=True):
        assert_close(one, another)


def test_a_set_without_keys_gives_zeros_and_gradients_of_zero(layer: LinearSetAttention) -> None:
    query, key, value, blocks = sets([(3, 0), (2, 0)])
    out = layer(query, key, value, blocks)
    assert out.shape == (5, H, D)
    assert not out.any()
    out.sum().backward()
    assert not query.grad.any()
    nothing = layer(*(x[:0] for x in (query, key, value)), Blocks.from_ptr(borders([])))
    assert nothing.shape == (0, H, D)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("Nyström", "Linformer")])
def test_the_order_of_elements_means_nothing(name: str) -> None:
    layer = KINDS[name]().double()
    query, key, value, blocks = sets([(30, 45), (4, 4)])
    of_queries = torch.cat([torch.randperm(30), 30 + torch.randperm(4)])
    of_keys = torch.cat([torch.randperm(45), 45 + torch.randperm(4)])
    permuted = layer(query[of_queries], key[of_keys], value[of_keys], blocks)
    assert_close(permuted, layer(query, key, value, blocks)[of_queries])


def test_landmarks_of_clusters_go_with_the_elements() -> None:
    layer = NystromAttention(3)
    query, key, value, blocks = sets([(30, 30), (2, 2), (8, 8)])
    cluster = torch.randint(3, (40,))
    order = torch.cat([torch.randperm(30), 30 + torch.randperm(2), 32 + torch.randperm(8)])
    expected = layer(query, key, value, blocks, cluster)
    permuted = layer(query[order], key[order], value[order], blocks, cluster[order])
    assert_close(permuted, expected[order])
    runs = torch.cat([torch.arange(n) * 3 // n for n in (30, 2, 8)])  # 10 each; 2, 3 and 3
    assert not torch.allclose(expected, layer(query, key, value, blocks))
    runs[32:] = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2])
    assert_close(layer(query, key, value, blocks, runs), layer(query, key, value, blocks))
    with pytest.raises(ValueError, match=r"cluster must lie in \[0, num_landmarks = 3\), got 1 to"):
        layer(query, key, value, blocks, cluster + 1)
    with pytest.raises(ValueError, match=r"cluster must be \(40,\), got \(39,\)"):
        layer(query, key, value, blocks, cluster[1:])


def test_half_precision_is_summed_in_float32(layer: LinearSetAttention) -> None:
    layer = layer.float()
    query, key = (torch.randn(400, H, C) for _ in range(2))
    value = 3000 + 100 * torch.rand(400, H, D)  # 22 of them are beyond float16
    blocks = Blocks.from_ptr(borders([390, 10]))
    half = [x.half() for x in (query, key, value)]
    found = layer(*half, blocks)
    assert found.dtype == torch.float16
    expected = layer(*(x.float() for x in half), blocks)
    assert_close(found, expected.half())
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(layer(*(x.float() for x in half), blocks), expected)


def test_nothing_is_as_large_as_all_pairs(layer: LinearSetAttention) -> None:
    size = 400
    *tensors, blocks = sets([(size, size), (3, 2)])
    layer(*tensors, blocks).sum().backward()  # what is recorded is recorded now
    with LargestTensor() as largest:
        layer(*tensors, blocks).sum().backward()
    assert largest.numel < size * size / 4


def dense(query: Tensor, key: Tensor, value: Tensor, weights: Callable[..., Tensor]) -> Tensor:
    query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    return (weights(query, key) @ value).transpose(0, 1)


def test_weights_are_those_of_the_formulas() -> None:
    query, key, value, blocks = sets([(7, 9)])

    def products(query: Tensor, key: Tensor) -> Tensor:
        return elu_features(query) @ elu_features(key).mT

    def linear(query: Tensor, key: Tensor) -> Tensor:
        return products(query, key) / products(query, key).sum(-1, keepdim=True)

    def magnitude_aware(query: Tensor, key: Tensor) -> Tensor:
        total = products(query, key).sum(-1, keepdim=True)
        weights = products(query, key) * (1 + 1 / total) - total / 9
        assert_close(weights.sum(-1), torch.ones(H, 7, dtype=torch.float64))
        return weights

    given = query, key, value
    assert_close(LinearAttention(0.0)(*given, blocks), dense(*given, linear))
    found = MagnitudeAwareLinearAttention(0.0)(*given, blocks)
    assert_close(found, dense(*given, magnitude_aware))
    layer = FourierAttention(C, H).double()
    normed = [norm(x) for norm, x in ((layer.query_norm, query), (layer.key_norm, key))]
    expected = dense(*normed, value, lambda q, k: q @ k.mT / (9 * C**0.5))
    assert_close(layer(*given, blocks), expected)


def test_norms_of_heads_are_layer_norms() -> None:
    layer = GalerkinAttention(C, H)
    x = torch.randn(5, H, C)
    for head in range(H):
        norm = torch.nn.LayerNorm(C)
        torch.nn.init.normal_(norm.weight)
        with torch.no_grad():
            layer.key_norm.weight[head] = norm.weight
        assert_close(layer.key_norm(x)[:, head], norm(x[:, head]))


def test_many_positive_features_are_softmax() -> None:
    query, key, value, blocks = sets([(20, 30), (5, 3)])
    query, key = query / 2, key / 2  # the variance grows exponentially with their squares
    layer = PerformerAttention(C, 20_000, epsilon=0.0).double()
    expected = dot_product_attention(blocks, query, key, value)
    assert_close(layer(query, key, value, blocks), expected, atol=0.05, rtol=0.0)
    few = PerformerAttention(C, 4, epsilon=0.0).double()
    assert (few(query, key, value, blocks) - expected).abs().max() > 0.05


def test_many_waves_are_softmax_of_vectors_of_norm_one() -> None:
    query, key, value, blocks = sets([(20, 30), (5, 3)])
    layer = RandomFeatureAttention(C, H, 20_000).double()
    with torch.no_grad():
        layer.scale.uniform_(0.5, 1.5)
    near, far = (
        torch.nn.functional.normalize(x, dim=-1) * layer.scale.detach() for x in (query, key)
    )
    # The norms of scaled keys differ, and their part of the distance is one more channel.
    one = torch.ones_like(near[..., :1])
    near = torch.cat([near, one], -1)
    far = torch.cat([far, -far.square().sum(-1, keepdim=True) / 2], -1)
    expected = dot_product_attention(blocks, near * (C + 1) ** 0.5, far, value)
    assert_close(layer(query, key, value, blocks), expected, atol=0.05, rtol=0.0)


def test_directions_are_orthogonal_and_drawn_anew_in_training() -> None:
    directions = orthogonal_gaussian(10, C)
    assert directions.shape == (10, C)
    products = directions[:C] @ directions[:C].T
    assert_close(products, torch.diag(products.diag()))
    query, key, value, blocks = sets([(3, 3)])
    for layer in (PerformerAttention(C, 8, 2), RandomFeatureAttention(C, H, 8, 2)):
        layer.double()
        before = layer.projection
        first = layer(query, key, value, blocks)
        assert layer.projection is before
        layer(query, key, value, blocks)
        assert not torch.equal(layer.projection, before)
        assert layer.projection.dtype == torch.float64
        first.sum().backward()  # its own directions are there still
        layer.eval()
        before = layer.projection
        for _ in range(3):
            layer(query, key, value, blocks)
        assert layer.projection is before
    with pytest.raises(ValueError, match="redraw_interval must be positive, got 0"):
        PerformerAttention(C, 8, 0)


@pytest.mark.parametrize("sizes", [[4, 0, 70, 1, 33], [5, 5, 5], [0, 0], []])
def test_sums_of_products_are_sums_of_products(sizes: list[int]) -> None:
    tiles = SetTiles(Blocks.from_ptr(borders(sizes)))
    left, right = (torch.randn(sum(sizes), H, k, dtype=torch.float64) for k in (3, 2))
    pairs = zip(left.split(sizes), right.split(sizes), strict=True) if sizes else ()
    expected = [torch.einsum("nha,nhb->hab", *pair) for pair in pairs]
    found = tiles.outer_sums(left, right)
    assert found.shape == (len(sizes), H, 3, 2)
    for one, another in zip(found, expected, strict=True):
        assert_close(one, another)
    back = tiles.products(left, found)
    assert back.shape == (sum(sizes), H, 2)
    if sizes:
        own = [
            torch.einsum("nha,hab->nhb", x, matrix)
            for x, matrix in zip(left.split(sizes), found, strict=True)
        ]
        assert_close(back, torch.cat(own))


def test_bad_input_is_named() -> None:
    query, key, value, blocks = sets([(3, 4)])
    layer = LinearAttention()
    with pytest.raises(ValueError, match=r"key must be \(4, H, C\), got \(3, 2, 4\)"):
        layer(query, key[1:], value, blocks)
    with pytest.raises(ValueError, match="as many heads and channels"):
        layer(query, key[..., 1:], value, blocks)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got int"):
        layer(query, key, value, 3)
    with pytest.raises(TypeError, match=r"query must be a floating-point tensor, got torch\.int64"):
        layer(query.long(), key, value, blocks)
    with pytest.raises(ValueError, match="num_landmarks and iterations must be positive"):
        NystromAttention(0)
    with pytest.raises(ValueError, match="a set must have at most 3 keys, got 4"):
        LinformerAttention(H, 2, 3).double()(query, key, value, blocks)
    with pytest.raises(NotImplementedError, match="LinearSetAttention must override attend"):
        LinearSetAttention()(query, key, value, blocks)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("Galerkin", {"heads": 1}, r"query must be \(N, 2, 4\), as the layer was made, got \(3, 1"),
        ("Galerkin", {"channels": 5}, r"query must be \(N, 2, 4\), .* got \(3, 2, 5\)"),
        ("Galerkin", {"values": 1}, r"value must be \(N, 2, 3\), .* got \(4, 2, 1\)"),
        ("Fourier", {"heads": 1}, r"query must be \(N, 2, 4\), .* got \(3, 1, 4\)"),
        ("Fourier", {"channels": 1}, r"query must be \(N, 2, 4\), .* got \(3, 2, 1\)"),
        ("Linformer", {"heads": 1}, r"query must be \(N, 2, C\), .* got \(3, 1, 4\)"),
        ("random features", {"heads": 1}, r"query must be \(N, 2, 4\), .* got \(3, 1, 4\)"),
        ("random features", {"channels": 1}, r"query must be \(N, 2, 4\), .* got \(3, 2, 1\)"),
        ("performer", {"channels": 5}, r"query must be \(N, H, 4\), .* got \(3, 2, 5\)"),
    ],
)
def test_parameters_are_not_spread_over_other_heads_or_channels(
    name: str, change: dict[str, int], message: str
) -> None:
    heads, channels, width = ({"heads": H, "channels": C, "values": D} | change).values()
    query, key = (torch.randn(size, heads, channels) for size in (3, 4))
    value = torch.randn(4, heads, width)
    with pytest.raises(ValueError, match=message):
        KINDS[name]()(query, key, value, Blocks.from_ptr(borders([3]), borders([4])))
