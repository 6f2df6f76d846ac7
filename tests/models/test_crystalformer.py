"""Crystalformer: stored results of the official model, weights, training, bad input."""

from pathlib import Path
from typing import Any

import pytest
import torch
from crystal_golden import attention_of, crystals_of, load_state, names_of
from crystal_models import ASSORTED, ATTENTIONS, SMALL, atoms, settled
from official import TOLERANCES, Named, Stored
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.attention import EdgeAttention
from graphattn.models.crystalformer import (
    Crystalformer,
    CrystalformerSizes,
    simplified_attention,
)
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention by its definition, which is another one than the compiled program's."""
    monkeypatch.setattr(EdgeAttention, "_is_compiled", lambda *_: False)


@pytest.fixture(params=ATTENTIONS)
def model(request: pytest.FixtureRequest, plain: None) -> Crystalformer:
    return settled(attention=ATTENTIONS[request.param])


def official_model(stored: Stored) -> Crystalformer:
    """The model of stored settings."""
    params = stored.settings["params"]
    embedding = stored.arrays["param.input_embeddings.weight"]
    sizes = CrystalformerSizes(
        params["model_dim"],
        params["head_num"],
        params["num_layers"],
        params["ff_dim"],
        params["embedding_dim"][0],
        embedding.shape[1],
    )
    domains = params["domain"].split("-")

    def attention(sizes: CrystalformerSizes, layer: int) -> CrystalformerAttention:
        domain = domains[layer % len(domains)]
        return attention_of(params, sizes.channels, sizes.heads, domain)

    pool: Any = {"avr": "mean", "max": "max"}[params["pooling"]]
    return Crystalformer(1, sizes, attention, pool)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", ["0_real_frozen", "1_real_init", "3_real-reci_frozen"])
def test_the_model_is_the_official_one(
    case: str, dtype: torch.dtype, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored(golden_folder / "crystalformer" / f"model_{case}.npz", dtype)
    model = official_model(stored)
    simple = {"linear1": "lin_in", "linear2": "lin_out"}

    def translated(official: Named) -> Named:
        ours = {"embedding.weight": official["input_embeddings.weight"].T}
        for old, new in (("mlp.0", "readout.0"), ("mlp.3", "readout.2")):
            ours |= {f"{new}.{kind}": official[f"{old}.{kind}"] for kind in ("weight", "bias")}
        for number, layer in enumerate(model.layers):
            prefix = f"encoder.layers.{number}."
            own = names_of(layer.attention, official, f"{prefix}self_attn.")
            ours |= {f"layers.{number}.attention.{name}": x for name, x in own.items()}
            for old, new in simple.items():
                for kind in ("weight", "bias"):
                    ours[f"layers.{number}.{new}.{kind}"] = official[f"{prefix}{old}.{kind}"]
        return ours

    stored.load(model, translated)
    seen: dict[str, Tensor] = {}
    for number, layer in enumerate(model.layers):
        load_state(layer.attention, stored.part("param"), f"encoder.layers.{number}.self_attn.")
        layer.register_forward_hook(
            lambda _, __, out, number=number: seen.update({f"layer{number}": out})
        )
    geometry = crystals_of(stored)
    out = model(stored.inputs["Z"], geometry.position, geometry.lattice, geometry.ptr)
    stored.check(model, {"out": out, **seen}, translated)


def test_the_published_sizes_have_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in Crystalformer().parameters()) == 853_505  # 853 K
    simplified = Crystalformer(attention=simplified_attention)
    assert sum(p.numel() for p in simplified.parameters()) == 853_505 - 4 * 128 * 64  # 820 K


def test_weights_begin_as_small_as_the_depth_asks() -> None:
    model = Crystalformer(sizes=CrystalformerSizes(num_layers=16))
    assert_close(
        model.embedding.weight.std().item(), 128**-0.5 * (9 * 16) ** -0.25, rtol=0.05, atol=0
    )
    scale = 0.67 / 2
    for layer in model.layers:
        own = layer.attention
        for linear, factor in (
            (own.lin_query, 1), (own.lin_key, 1), (own.lin_value, scale), (own.lin_out, scale),
            (layer.lin_in, scale), (layer.lin_out, scale),
        ):  # fmt: skip
            bound = factor * (6 / sum(linear.weight.shape)) ** 0.5
            assert_close(linear.weight.abs().max().item(), bound, rtol=0.01, atol=0)
            assert not linear.bias.any()


def test_compiled_and_plain_attention_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = settled(dtype=torch.float32), atoms(*ASSORTED, dtype=torch.float32)

    def run() -> list[Tensor]:
        position = given[1].clone().requires_grad_()
        out, weights = model(given[0], position, *given[2:], return_weights=True)
        gradients = torch.autograd.grad(out.square().sum(), [position, *model.parameters()])
        return [x.detach() for x in (out, *weights, *gradients)]

    found = run()
    monkeypatch.setattr(EdgeAttention, "_is_compiled", lambda *_: False)
    for one, other in zip(found, run(), strict=True):
        assert_close(one, other, atol=1e-5 * max(1.0, float(other.abs().max())), rtol=0)


@pytest.mark.usefixtures("plain")
def test_it_learns_and_settles_in_the_first_batch() -> None:
    model = Crystalformer(sizes=SMALL)
    given = atoms("empty", *ASSORTED, dtype=torch.float32)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    wanted, losses, scales = torch.randn(5, 1), [], []
    for _ in range(12):
        adam.zero_grad()
        losses.append((model(*given) - wanted).square().mean())
        losses[-1].backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        adam.step()
        scales.append([layer.attention.width.scale.clone() for layer in model.layers])
    assert losses[-1] < 0.5 * losses[0]
    assert all(scale > 0 for scale in scales[0])
    assert scales[0] == scales[-1]
    other = Crystalformer(sizes=SMALL)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(*given), model.eval()(*given))


def test_weights_of_attention_are_those_of_all_images(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms(*ASSORTED)
    out, weights = model(numbers, position, lattice, ptr, return_weights=True)
    assert torch.equal(out, model(numbers, position, lattice, ptr))
    blocks = Blocks.from_ptr(ptr)
    assert len(weights) == 2
    for own in weights:
        assert own.shape == (blocks.num_edges, 2)
        total = torch.zeros(len(numbers), 2).double().index_add(0, blocks.target, own)
        assert_close(total, torch.ones_like(total))


@pytest.mark.usefixtures("plain")
def test_no_crystals_and_other_ways_to_say_which_atoms_are_of_one() -> None:
    model = settled()
    numbers, position, lattice, ptr = atoms("skewed", "one atom", "empty")
    expected = model(numbers, position, lattice, ptr)
    batch = torch.tensor([0, 0, 0, 1])
    assert torch.equal(model(numbers, position, lattice, batch=batch), expected)
    assert model(numbers[:0], position[:0], lattice[:0], ptr[:1]).shape == (0, 2)
    assert model(numbers, position.float(), lattice, ptr).dtype == torch.float64
    assert model.float()(numbers, position, lattice, ptr).dtype == torch.float32
    rounded = model.bfloat16()(numbers, position, lattice, ptr)
    assert rounded.dtype == torch.bfloat16
    assert_close(
        rounded.double(), expected, atol=0.1 * float(expected.detach().abs().max()), rtol=0
    )


@pytest.mark.usefixtures("plain")
def test_bad_input_is_named() -> None:
    model: Any = settled()
    numbers, position, lattice, ptr = atoms("skewed", "one atom")
    with pytest.raises(TypeError, match=r"numbers must be an int64 tensor, got torch\.int32"):
        model(numbers.int(), position, lattice, ptr)
    with pytest.raises(ValueError, match=r"numbers must be \(N,\), got \(3,\)"):
        model(numbers[1:], position, lattice, ptr)
    with pytest.raises(TypeError, match="position must be a floating-point tensor"):
        model(numbers, position.long(), lattice, ptr)
    with pytest.raises(ValueError, match=r"lattice must be \(2, 3, 3\), got \(1, 3, 3\)"):
        model(numbers, position, lattice[1:], ptr)
    with pytest.raises(ValueError, match="ptr and batch say the same"):
        model(numbers, position, lattice, ptr, batch=ptr)
    with pytest.raises(IndexError):
        model(numbers + 98, position, lattice, ptr)
    lattice[1, 0] = 0
    with pytest.raises(ValueError, match="crystal 1 must have a cell with a volume"):
        model(numbers, position, lattice, ptr)
    with pytest.raises(ValueError, match='pool must be "mean"'):
        Crystalformer(pool="min")
    with pytest.raises(ValueError, match="sizes must be positive"):
        Crystalformer(sizes=CrystalformerSizes(num_layers=0))
    with pytest.raises(ValueError, match="heads must divide channels = 128, got 7"):
        Crystalformer(sizes=CrystalformerSizes(heads=7))
