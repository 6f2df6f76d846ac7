"""Perceiver and Perceiver IO: stored results, sets of unequal size, cost, bad input."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from official import MAPS, TOLERANCES, Stored, plain_in_double, renamed
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.models import Perceiver, PerceiverEncoder, PerceiverIO
from graphattn.nn.latents.fourier_features import fourier_features
from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.perceiver_layer import PerceiverLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock
from graphattn.nn.latents.seeds import CarriedSeeds, LearnedSeeds
from graphattn.nn.sets.cross_attention import CrossAttention
from graphattn.nn.sets.padded_sets import from_padded

C, LATENT_C, COUNT = 4, 8, 3
SIZES = [3, 0, 70, 1]


def encoder(num_reads: int = 2) -> PerceiverEncoder:
    first, later = (PerceiverLayer(C, LATENT_C, depth=1, heads=2) for _ in range(2))
    return PerceiverEncoder(LearnedSeeds(COUNT, LATENT_C), [first, *[later] * (num_reads - 1)])


def answering() -> PerceiverIO:
    decoder = CrossAttentionBlock.prenorm(
        CrossAttention(5, 1, LATENT_C, 4), hidden=5, residual=False
    )
    return PerceiverIO(encoder(), decoder, nn.Linear(5, 2))


def test_weights_of_every_reading_say_what_each_latent_reads() -> None:
    model: Any = encoder(num_reads=3).eval()
    x, ptr = ragged(SIZES)
    blocks = Blocks.from_ptr(ptr)
    weights = model.attention_weights(x, blocks)
    assert [tuple(own.shape) for own in weights] == [(COUNT * sum(SIZES), 1)] * 3
    assert not torch.equal(weights[1], weights[2])  # a tied layer reads by new latents
    for own, size in zip(weights[0].split([COUNT * size for size in SIZES]), SIZES, strict=True):
        sums = own.view(COUNT, size).sum(1)
        assert_close(sums, torch.full((COUNT,), float(size > 0)))

    # By definition, of one latent and one set, with the weights of the first layer.
    block = model.layers[0].read[0]
    query = block.attention.lin_query(block.query_norm(model.seeds.weight[1]))
    key = block.attention.lin_key(block.key_norm(x[3:73]))
    expected = (key @ query / key.shape[1] ** 0.5).softmax(0)
    assert_close(weights[0][3 * COUNT :][70:140, 0], expected)
    assert model(x, blocks).requires_grad  # and what it was called by is as before
    assert not block._forward_pre_hooks


def ragged(sizes: list[int], channels: int = C) -> tuple[Tensor, Tensor]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), channels), ptr


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", ["encoder_0", "encoder_1"])
def test_the_encoder_is_that_of_krasserms_perceiver(
    case: str, dtype: torch.dtype, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored(golden_folder / f"perceiver/{case}.npz", plain_in_double(dtype, monkeypatch))
    settings = stored.settings
    width = settings["num_latent_channels"]
    first, second = (
        PerceiverLayer(
            settings["num_input_channels"],
            width,
            settings["num_self_attention_layers_per_block"],
            settings["num_self_attention_heads"],
            settings["num_cross_attention_heads"],
            qk_channels=width,
        )
        for _ in range(2)
    )
    # Its blocks of self-attention are one and the same, and the last ones do not read.
    layers = [
        first,
        LatentLayer(read=second.read, compute=first.compute),
        LatentLayer(compute=first.compute),
    ][: settings["num_self_attention_blocks"]]
    model = PerceiverEncoder(LearnedSeeds(settings["num_latents"], width), layers)
    names = renamed(
        ("latent_provider._query", "seeds.weight"), ("cross_attn_1", "layers.0.read.0"),
        ("cross_attn_n", "layers.1.read.0"), ("self_attn_1", "layers.0.compute"),
        (".0.module", ""), (".1.module", ".after.inner"), (".q_norm", ".query_norm"),
        ("kv_norm", "key_norm"), *MAPS,
    )  # fmt: skip
    stored.load(model, names)
    x, blocks = from_padded(stored.inputs["x"], ~stored.inputs["pad_mask"])
    out = model(x, blocks).unflatten(0, (blocks.num_sets, -1))
    stored.check(model, {"out": out}, names)


@pytest.mark.parametrize("case", ["Perceiver", "Perceiver IO"])
def test_a_set_gives_the_same_alone_and_in_any_batch(case: str) -> None:
    x, ptr = ragged(SIZES)
    queries, query_ptr = ragged([2, 4, 0, 1], 5)
    perceiver, io = Perceiver(encoder(), LATENT_C, 2), answering()

    def run(x: Tensor, queries: Tensor, blocks: Blocks) -> Tensor:
        return perceiver(x, blocks) if case == "Perceiver" else io(x, queries, blocks)

    whole = run(x, queries, Blocks.from_ptr(query_ptr, ptr))
    rows = torch.arange(len(SIZES) + 1) if case == "Perceiver" else query_ptr
    assert whole.shape == (int(rows[-1]), 2)
    for number in range(len(SIZES)):
        keys, asked, own = (slice(*p[number : number + 2].tolist()) for p in (ptr, query_ptr, rows))
        sizes = [torch.tensor([0, p.stop - p.start]) for p in (asked, keys)]
        alone = run(x[keys], queries[asked], Blocks.from_ptr(*sizes))
        assert_close(alone, whole[own], atol=1e-6, rtol=1e-5)


def test_the_order_of_elements_does_not_matter_and_that_of_queries_is_kept() -> None:
    x, ptr = ragged([7])
    queries, query_ptr = ragged([4], 5)
    blocks, order, other = Blocks.from_ptr(query_ptr, ptr), torch.randperm(7), torch.randperm(4)
    io, perceiver = answering(), Perceiver(encoder(), LATENT_C, 2)
    expected = io(x, queries, blocks)[other]
    assert_close(io(x[order], queries[other], blocks), expected, atol=1e-6, rtol=1e-5)
    assert_close(perceiver(x[order], blocks), perceiver(x, blocks), atol=1e-6, rtol=1e-5)


def test_padding_changes_nothing() -> None:
    x, ptr = ragged(SIZES)
    padded = nn.utils.rnn.pad_sequence(list(x.split(SIZES)), batch_first=True, padding_value=1e9)
    mask = torch.arange(padded.shape[1]) < torch.tensor(SIZES)[:, None]
    model = Perceiver(encoder(), LATENT_C, 2)
    assert_close(model(*from_padded(padded, mask)), model(x, Blocks.from_ptr(ptr)))


def test_no_sets_and_empty_sets_give_numbers() -> None:
    model = Perceiver(encoder(), LATENT_C, 2)
    x, ptr = ragged([0, 5, 0])
    out = model(x.requires_grad_(), Blocks.from_ptr(ptr))
    out.sum().backward()
    assert out.isfinite().all()
    assert_close(out[0], out[2])
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model(x[:0], Blocks.from_ptr(ptr[:1])).shape == (0, 2)


def test_layers_given_twice_are_tied() -> None:
    short, long = encoder(2), encoder(8)
    assert len(list(short.parameters())) == len(list(long.parameters()))
    x, ptr = ragged([5])
    assert not torch.allclose(short(x, Blocks.from_ptr(ptr)), long(x, Blocks.from_ptr(ptr)))
    same = copy.deepcopy(long)
    assert_close(same(x, Blocks.from_ptr(ptr)), long(x, Blocks.from_ptr(ptr)))


def test_latents_may_be_carried_over_from_step_to_step() -> None:
    seeds = CarriedSeeds(COUNT, LATENT_C)
    model = PerceiverEncoder(seeds, [PerceiverLayer(C, LATENT_C, depth=1, heads=2)])
    x, ptr = ragged([5, 2])
    blocks = Blocks.from_ptr(ptr)
    first = model(x, blocks)
    assert_close(model(x, blocks, first), first)  # carries nothing until trained
    nn.init.ones_(seeds.norm.weight)
    assert not torch.allclose(model(x, blocks, first), first)


def test_fourier_features_are_those_of_the_formula() -> None:
    position = torch.rand(4, 2) * 2 - 1
    found = fourier_features(position, 3, [6.0, 10.0])
    assert found.shape == (4, 2 * 7)
    angles = torch.pi * torch.cat(
        [position[:, :1] * torch.tensor([1.0, 2, 3]), position[:, 1:] * torch.tensor([1.0, 3, 5])],
        dim=1,
    )
    assert_close(found, torch.cat([position, angles.sin(), angles.cos()], dim=1))
    assert_close(fourier_features(position, 3, 6.0), fourier_features(position, 3, [6.0, 6.0]))
    assert torch.equal(fourier_features(position, 0, 6.0), position)
    assert fourier_features(position[:0], 3, 6.0).shape == (0, 14)
    assert fourier_features(position.double(), 1, 6.0).dtype == torch.float64
    with pytest.raises(TypeError, match=r"position must be a floating-point tensor, got torch\.in"):
        fourier_features(position.long(), 3, 6.0)
    with pytest.raises(ValueError, match="one for each of 2 axes"):
        fourier_features(position, 3, [6.0])
    with pytest.raises(ValueError, match="num_bands must not be negative, got -1"):
        fourier_features(position, -1, 6.0)


def test_bad_input_is_named() -> None:
    model: Any = Perceiver(encoder(), LATENT_C, 2)
    x, ptr = ragged([2, 3])
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got Tensor"):
        model(x, ptr)
    with pytest.raises(ValueError, match=r"x must be \(5, channels\), got \(4, 4\)"):
        model(x[1:], Blocks.from_ptr(ptr))
    with pytest.raises(ValueError, match=r"x must be \(5, 4\), got \(5, 3\)"):
        model(x[:, 1:], Blocks.from_ptr(ptr))
    asking: Any = answering()
    with pytest.raises(ValueError, match=r"queries must be \(5, 5\), got \(5, 4\)"):
        asking(x, x, Blocks.from_ptr(ptr))
    with pytest.raises(ValueError, match="have no seeds"):
        PerceiverEncoder(LearnedSeeds(1, 4), [])
    with pytest.raises(TypeError, match=r"mask must be a bool tensor, got torch\.float32"):
        from_padded(x[None], torch.ones(1, 5))
    padded: Any = from_padded
    with pytest.raises(TypeError, match="mask must be a bool tensor, got list"):
        padded(x[None], [[True] * 5])
    with pytest.raises(TypeError, match="x must be a tensor, got list"):
        padded([[[1.0]]])
    with pytest.raises(ValueError, match=r"mask must be \(1, 5\), got \(1, 4\)"):
        from_padded(x[None], torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"x must be \(S, N, channels\), got \(5, 4\)"):
        from_padded(x)
