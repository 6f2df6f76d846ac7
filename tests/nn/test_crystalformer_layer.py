"""Attention over crystals: stored results of the official code."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from crystal_golden import MAPS, attention_case, crystals_of, names_of
from official import TOLERANCES
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.attention import EdgeAttention
from graphattn.kernels.lattice_sum.cases import crystals as crystals_named
from graphattn.nn.crystals.crystalformer_forms import without_softmax
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention, CrystalformerLayer
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.gaussian_widths import (
    AtomWidth,
    FirstBatchStandardized,
    HeadWidth,
    PositiveAbsolute,
    PositiveELU,
    PositiveMap,
    PositiveSigmoid,
)
from graphattn.nn.crystals.lattice_terms import (
    Gaussians,
    HeadGroups,
    RadialFunctions,
    RealSpace,
    ReciprocalSpace,
)
from graphattn.nn.crystals.lattice_waves import WaveSpace

CASES = (
    "attn_00_real_nope",
    "attn_01_real_dist",
    "attn_02_real_dist_frozen",
    "attn_04_reci",
    "attn_05_reci_frozen",
    "attn_07_multihead",
    "attn_09_real_exclself_unheaded",
    "attn_10_real_nonorm",
    "attn_11_real_sigmoid",
    "attn_13_real_softmaxprim",
    "attn_14_real_eluplus1_neg",
    "attn_15_real_wave",
    "attn_17_real_dist_r4_w05",
    "attn_19_RECI",
    "attn_20_real_xxn_softplus",
    "attn_21_real_x_exp_frozen",
    "attn_24_real_batch6_frozen",
)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention by its definition; tests of the model hold the compiled programs to it."""
    monkeypatch.setattr(EdgeAttention, "_is_compiled", lambda *_: False)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_attention_is_the_official_one(case: str, dtype: torch.dtype, golden_folder: Path) -> None:
    stored, layer = attention_case(golden_folder / "crystalformer" / f"{case}.npz", dtype)
    crystals = crystals_of(stored)
    out, weights = layer(stored.inputs["x"], crystals, return_weights=True)
    if case == "attn_15_real_wave":  # the official code cannot be trained with waves
        assert not stored.part("grad_param")
        for name, found in (("out", out), ("attn", weights)):
            stored.assert_near(found, stored.part("out")[name], name)
        return
    stored.check(layer, {"out": out, "attn": weights}, lambda given: names_of(layer, given))


def test_every_stored_case_is_run(golden_folder: Path) -> None:
    stored = {path.stem for path in golden_folder.glob("crystalformer/attn_*.npz")}
    assert stored == set(CASES)


def over_all_images(
    attention: CrystalformerAttention, x: Tensor, crystals: Crystals, reach: int
) -> tuple[Tensor, Tensor]:
    """Attention of the atoms of one cell over every atom of every image, written out."""
    query, key, value = (
        linear(x).unflatten(1, (attention.heads, -1))
        for linear in (attention.lin_query, attention.lin_key, attention.lin_value)
    )
    gamma = attention.width(x, query)
    terms: Any = attention.terms
    sigma = terms.gaussians.sigma(gamma)  # (n, H)
    steps = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 3).to(x)
    images = crystals.position.unsqueeze(1) + steps @ crystals.lattice[0]  # (n, M, 3)
    distance = (images.flatten(0, 1) - crystals.position.unsqueeze(1)).norm(dim=-1)  # (n, n M)
    owner = torch.arange(len(x)).repeat_interleave(len(steps))
    logits = torch.einsum("ihc,jhc->ijh", query, key[owner]) / query.shape[-1] ** 0.5
    logits = logits - 0.5 * (distance.unsqueeze(-1) / sigma.unsqueeze(1)).square()
    weights = logits.softmax(1)
    centers = terms.radial.spacing * torch.arange(1, terms.radial.count + 1).to(x)
    away = (distance.unsqueeze(-1) - centers) / terms.radial.spacing
    radial = torch.einsum("ijk,hck->ijhc", (-0.5 * away.square()).exp(), terms.weight)
    out = torch.einsum("ijh,ijhc->ihc", weights, value[owner] + radial)
    return attention.lin_out(out.flatten(1)), weights.unflatten(1, (len(x), -1)).sum(2)


@pytest.mark.usefixtures("plain")
def test_attention_over_a_cell_is_attention_over_all_images_of_it() -> None:
    position, lattice, ptr = crystals_named("skewed")
    crystals = Crystals.from_ptr(position.requires_grad_(), lattice.requires_grad_(), ptr)
    attention = CrystalformerAttention(8, 2, RealSpace(2, 4, RadialFunctions(5, 4.0))).double()
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    attention(x, crystals)  # settles the widths
    attention.eval()
    leaves = [x, position, lattice, *attention.parameters()]
    results = []
    for out, weights in (
        attention(x, crystals, return_weights=True),
        over_all_images(attention, x, crystals, reach=6),
    ):
        weights = weights.reshape(9, 2)
        gradients = torch.autograd.grad(out.sin().sum() + weights.square().sum(), leaves)
        results.append((out, weights, *gradients))
    for found, expected in zip(*results, strict=True):
        assert_close(found, expected, atol=3e-6, rtol=0)


@pytest.mark.usefixtures("plain")
def test_sums_over_images_and_over_waves_are_the_same_attention() -> None:
    position, lattice, ptr = crystals_named("left-handed", "empty", "skewed")
    crystals = Crystals.from_ptr(position, lattice, ptr)
    narrow = Gaussians(scale=1.4)
    images = CrystalformerAttention(8, 2, RealSpace(2, 4, None, narrow)).double()
    waves = CrystalformerAttention(8, 2, ReciprocalSpace(narrow)).double()
    waves.load_state_dict(images.state_dict())
    x = torch.randn(5, 8, dtype=torch.float64)
    assert_close(waves(x, crystals), images(x, crystals), atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_cells", [None, 2])
def test_waves_have_derivatives_and_do_without_atoms(num_cells: int | None) -> None:
    position, lattice, ptr = crystals_named("left-handed", "empty")
    terms = WaveSpace(1, 2, num_cells=num_cells).double()
    gamma = torch.randn(2, 1, dtype=torch.float64)

    def sums(
        gamma: Tensor, position: Tensor, lattice: Tensor, weight: Tensor
    ) -> tuple[Tensor, ...]:
        crystals = Crystals.from_ptr(position, lattice, ptr)
        found: Any = torch.func.functional_call(terms, {"weight": weight}, (gamma, crystals))
        return tuple(found)

    leaves = (gamma, position, lattice, terms.weight.detach().clone())
    assert gradcheck(sums, [x.requires_grad_() for x in leaves], fast_mode=True)
    empty = Crystals.from_ptr(position[:0], lattice[:1], ptr[:1].repeat(2))
    alpha, beta = terms(gamma[:0], empty)
    assert (alpha.shape, beta.shape) == ((0, 1), (0, 1, 2))
    with pytest.raises(ValueError, match="num_waves must be positive, got 0"):
        WaveSpace(1, 2, 0)


def test_groups_of_heads_are_each_their_own() -> None:
    position, lattice, ptr = crystals_named("left-handed", "skewed")
    crystals = Crystals.from_ptr(position, lattice, ptr)
    real, waves = RealSpace(2, 4).double(), ReciprocalSpace()
    gamma = torch.randn(5, 4, dtype=torch.float64)
    alpha, beta = HeadGroups([real, waves])(gamma, crystals)
    own_alpha, own_beta = real(gamma[:, :2], crystals)
    assert_close(alpha, torch.cat([own_alpha, waves(gamma[:, 2:], crystals)[0]], dim=1))
    assert torch.equal(beta[:, :2], own_beta)
    assert not beta[:, 2:].any()
    assert HeadGroups([waves, waves])(gamma, crystals)[1] is None
    with pytest.raises(ValueError, match=r"multiple of 2 heads, got \(5, 3\)"):
        HeadGroups([real, waves])(gamma[:, :3], crystals)
    with pytest.raises(ValueError, match="at least one module"):
        HeadGroups([])


@pytest.mark.parametrize("kind", [*MAPS.values(), PositiveSigmoid, PositiveAbsolute])
def test_maps_are_above_their_bound_and_rise_from_one(kind: type[PositiveMap]) -> None:
    x = torch.linspace(-40, 40, 801, dtype=torch.float64, requires_grad=True)
    found = kind(least=0.3, slope=0.7)(x)
    assert (found >= 0.3).all()
    if kind is PositiveAbsolute:
        assert_close(found, 0.3 + 0.7 * x.abs())
        return
    assert_close(found[400], torch.ones((), dtype=torch.float64))
    assert (found.diff() >= 0).all()
    assert kind(0.3, 1.4)(x[401]) > found[401]


@pytest.mark.parametrize(("least", "slope"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (0.5, -1.0)])
def test_maps_with_other_bounds_are_refused(least: float, slope: float) -> None:
    with pytest.raises(ValueError, match="least must lie between 0 and 1"):
        PositiveELU(least, slope)


def test_widths_are_settled_by_the_first_batch_that_can() -> None:
    layer = FirstBatchStandardized(AtomWidth(4, 2))
    x = torch.randn(6, 4)
    alike = torch.ones(6, 4)
    query = x.new_zeros(6, 2, 1)
    before = layer.eval()(x, query)
    assert_close(before.mean().item(), 0.0, atol=1e-6, rtol=0)
    assert_close(before.std().item(), 1.0)
    assert not layer.scale  # evaluation settles nothing
    layer.train()
    one_head = FirstBatchStandardized(AtomWidth(4, 1)).train()
    for unusable in (alike, alike[:1], alike[:0]):
        found = one_head(unusable, query[: len(unusable)])
        assert torch.equal(found, one_head.width(unusable, query))
        assert not one_head.scale
    first = layer(x, query)
    assert_close(first, before)
    scale = layer.scale.clone()
    assert scale > 0
    assert_close(layer(3 * x, query), (3 * layer.width(x, query) + layer.shift) * scale)
    assert torch.equal(layer.scale, scale)


def test_one_number_for_each_head() -> None:
    width = HeadWidth(3)
    assert torch.equal(width(torch.zeros(5, 4), torch.zeros(5, 3, 2)), width.gamma.expand(5, 3))


@pytest.mark.usefixtures("plain")
def test_unit_sums_are_those_of_the_first_batch() -> None:
    position, lattice, ptr = crystals_named("empty", "left-handed", "skewed")
    crystals = Crystals.from_ptr(position, lattice, ptr)
    x = torch.randn(5, 8, dtype=torch.float64)
    form = replace(without_softmax(torch.sigmoid), has_unit_sums=True)
    layer = CrystalformerAttention(8, 2, form=form).double()
    free = CrystalformerAttention(8, 2, form=without_softmax(torch.sigmoid)).double()
    out, weights = layer(x, crystals, return_weights=True)
    sums = torch.zeros(5, 2).double().index_add(0, crystals.blocks.target, weights)
    assert_close(layer.output_scale, 1 / torch.stack([sums[:2].mean(), sums[2:].mean()]).mean())
    free.load_state_dict({n: p for n, p in layer.state_dict().items() if n != "output_scale"})
    inner = layer.lin_out.weight, layer.lin_out.bias
    unscaled = free(x, crystals) - inner[1]
    assert_close(out, unscaled * layer.output_scale + inner[1])
    scale = layer.output_scale.clone()
    layer(2 * x, crystals)
    assert torch.equal(layer.output_scale, scale)


@pytest.mark.usefixtures("plain")
def test_dropout_is_of_training_alone() -> None:
    position, lattice, ptr = crystals_named("skewed")
    crystals = Crystals.from_ptr(position.float(), lattice.float(), ptr)
    x = torch.randn(3, 8)
    layer = CrystalformerLayer(CrystalformerAttention(8, 2, dropout=0.5), 8, dropout=0.5)
    assert not torch.allclose(layer(x, crystals), layer(x, crystals))
    layer.eval()
    assert torch.equal(layer(x, crystals), layer(x, crystals))
    assert layer(x, crystals, return_weights=True)[1].shape == (9, 2)


def test_bad_input_is_named() -> None:
    position, lattice, ptr = crystals_named("skewed")
    layer: Any = CrystalformerAttention(8, 2)
    crystals = Crystals.from_ptr(position, lattice, ptr)
    with pytest.raises(TypeError, match="crystals must be a Crystals, got Tensor"):
        layer(torch.zeros(3, 8), position)
    with pytest.raises(ValueError, match=r"x must be \(3, 8\), got \(2, 8\)"):
        layer(torch.zeros(2, 8), crystals)
    with pytest.raises(ValueError, match="heads must divide channels = 8, got 3"):
        CrystalformerAttention(8, 3)
    with pytest.raises(ValueError, match=r"position must be \(3, 3\), got \(2, 3\)"):
        Crystals.from_ptr(position[1:], lattice, ptr)
    with pytest.raises(ValueError, match="blocks must pair atoms with atoms"):
        Crystals(position, lattice, Blocks.from_ptr(ptr, ptr * 2))
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got Tensor"):
        Crystals(position, lattice, ptr)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="map must be without parameters, got PReLU"):
        without_softmax(nn.PReLU())
    with pytest.raises(ValueError, match="scale must be a positive length, got 0"):
        Gaussians(scale=0)
    with pytest.raises(ValueError, match="count, farthest and width_scale must be positive"):
        RadialFunctions(count=0)
