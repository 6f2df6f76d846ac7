"""Attention on crystals, image by image: shares by hand and of models, and the pictures."""

import math

import numpy
import pytest
import torch
from torch.testing import assert_close

pytest.importorskip("matplotlib")

from graphattn.attention import EdgeAttention
from graphattn.datasets.crystals import Crystal, CrystalBatch, collate
from graphattn.models.crystalformer import Crystalformer, CrystalformerSizes
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.lattice_terms import HeadGroups, RealSpace, ReciprocalSpace
from graphattn.plot.crystal_weights import (
    CrystalWeights,
    ShellProfile,
    image_weights,
    shell_profile,
    weights_on_crystals,
)
from graphattn.plot.crystals import attention_in_shells, attention_on_crystal
from graphattn.plot.parity import parity

SIZES = CrystalformerSizes(8, 2, 2, hidden_channels=12, readout_channels=6)
EDGE = 2.0  # ångström


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention by its definition, without a kernel of its own."""
    monkeypatch.setattr(EdgeAttention, "_is_compiled", lambda *_: False)


def crystals() -> list[Crystal]:
    """A skewed cell of three atoms, one of them far outside of it, and a cube of two."""
    skewed = torch.tensor([[3.1, 0.2, 0.0], [0.9, 2.8, 0.1], [-0.4, 0.7, 3.3]]).double()
    fractional = torch.tensor([[0.1, 0.2, 0.3], [2.6, -0.9, 0.8], [0.4, 0.7, 0.1]]).double()
    return [
        Crystal("skewed", torch.tensor([8, 26, 8]), fractional, skewed),
        Crystal("cube", torch.tensor([55, 17]), fractional[:2] % 1, 4 * torch.eye(3).double()),
    ]


def model(terms: type[RealSpace] | type[ReciprocalSpace] = RealSpace, **options) -> Crystalformer:
    def attention(sizes: CrystalformerSizes, layer: int) -> CrystalformerAttention:
        shape = (sizes.heads, sizes.channels // sizes.heads) if terms is RealSpace else ()
        return CrystalformerAttention(sizes.channels, sizes.heads, terms(*shape, **options))

    return Crystalformer(1, SIZES, attention).double()


def call(network: Crystalformer, batch: CrystalBatch):
    where = (batch.position, batch.lattice, batch.ptr)
    return network(batch.numbers, *where, return_weights=True)


def simple_cube(sigma: float, exclude_self: bool = False) -> CrystalWeights:
    """One atom in a cube, all of whose weight goes to itself."""
    lattice = EDGE * torch.eye(3).double().unsqueeze(0)
    structure = Crystals.from_ptr(torch.full((1, 3), 0.3).double(), lattice, torch.tensor([0, 1]))
    weights, sigmas = torch.ones(1, 1).double(), torch.full((1, 1), sigma).double()
    return CrystalWeights(structure, weights, sigmas, torch.full((1, 3), 9), exclude_self)


def test_images_of_a_cube_have_the_weights_of_their_gaussians() -> None:
    sigma = 0.9
    seen = image_weights(simple_cube(sigma), 0)
    one_way = sum(math.exp(-((EDGE * n) ** 2) / (2 * sigma**2)) for n in range(-9, 10))
    assert seen.weight.shape == (19**3, 1)
    for steps, count in ((0, 1), (1, 6), (2, 12), (3, 8)):
        found = seen.weight[(seen.distance - EDGE * steps**0.5).abs() < 1e-9, 0]
        expected = math.exp(-steps * EDGE**2 / (2 * sigma**2)) / one_way**3
        assert_close(found, torch.full((count,), expected).double())
    assert_close((seen.position - 0.3).square().sum(1).sqrt(), seen.distance)


def test_an_atom_that_excludes_itself_gives_its_own_place_nothing() -> None:
    seen = image_weights(simple_cube(0.5, exclude_self=True), 0)
    assert float(seen.weight[seen.distance == 0]) == 0
    assert_close(seen.weight.sum(), torch.tensor(1.0).double())
    nearest = seen.weight[(seen.distance - EDGE).abs() < 1e-9, 0]
    assert_close(nearest, torch.full((6,), 1 / 6).double(), atol=1e-3, rtol=0.0)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("options", [{}, {"num_cells": 1}, {"exclude_self": True}], ids=str)
def test_shares_of_images_are_those_that_the_layer_sums(options) -> None:
    # A layer sums them itself, in the term of the value: so much of each radial function.
    network, batch = model(**options), collate(crystals(), dtype=torch.float64)
    call(network, batch)
    terms = network.layers[1].attention.terms
    summed = []
    handle = terms.register_forward_hook(lambda *call: summed.append(call[2]))
    _, layer = weights_on_crystals(network, batch)
    handle.remove()
    (_, beta), radial = summed[0], terms.radial
    even = layer._replace(weights=torch.ones_like(layer.weights))
    centers = radial.spacing * torch.arange(1, radial.count + 1)
    pair = 0
    for crystal, size in enumerate(batch.ptr.diff().tolist()):
        for atom in range(size):
            seen = image_weights(even, atom, crystal)
            basis = (-0.5 * ((seen.distance[:, None] - centers) / radial.spacing) ** 2).exp()
            for key in range(size):
                own = seen.atom == key
                mean = seen.weight[own].T @ basis[own]  # (H, K)
                expected = torch.einsum("hk,hck->hc", mean, terms.weight)
                # Sums of both leave out images, which together are a millionth.
                assert_close(expected, beta[pair], atol=1e-5, rtol=1e-5)
                pair += 1
    assert pair == len(beta)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("terms", [RealSpace, ReciprocalSpace])
def test_weights_are_the_models_in_evaluation_and_it_stays_as_it_is(terms) -> None:
    network, batch = model(terms), collate(crystals(), dtype=torch.float64)
    call(network, batch)  # settles the widths
    network.layers[0].eval()
    layers = weights_on_crystals(network, batch)
    assert [layer.training for layer in network.layers] == [False, True]
    assert not any(module._forward_pre_hooks for module in network.modules())
    _, expected = call(network.eval(), batch)
    for layer, weights in zip(layers, expected, strict=True):
        assert not layer.weights.requires_grad
        assert_close(layer.weights, weights.detach())
        first = image_weights(layer, 1, 1)
        of_atoms = torch.zeros(2, 2).double().index_add(0, first.atom, first.weight)
        assert_close(of_atoms, layer.weights[9 + 2 :])
    sigma = layers[0].sigma
    assert sigma.shape == (5, 2)
    assert (sigma[0] == sigma[2]).all()  # of one element
    assert (sigma[0] != sigma[1]).all()


@pytest.mark.usefixtures("plain")
def test_terms_of_several_kinds_are_refused() -> None:
    def attention(sizes: CrystalformerSizes, layer: int) -> CrystalformerAttention:
        terms = HeadGroups([RealSpace(1, 4), ReciprocalSpace()])
        return CrystalformerAttention(sizes.channels, sizes.heads, terms)

    network = Crystalformer(1, SIZES, attention)
    with pytest.raises(TypeError, match=r"terms of layer 0 must be RealSpace, .* got HeadGroups"):
        weights_on_crystals(network, collate(crystals()))


def test_a_profile_has_the_weight_of_each_shell_and_of_all_beyond() -> None:
    layer = simple_cube(1.1)
    seen = image_weights(layer, 0)
    profile = shell_profile(layer, step=1.0, farthest=3.0)
    expected = [
        float(seen.weight[(seen.distance >= low) & (seen.distance < high)].sum())
        for low, high in ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, math.inf))
    ]
    assert expected[0] > 0.1
    assert expected[1] == 0 < expected[3] < expected[2]
    assert_close(profile.weight[:, 0], torch.tensor(expected).double())
    assert_close(profile.weight.sum(), torch.tensor(1.0).double())


@pytest.mark.usefixtures("plain")
def test_a_profile_is_the_mean_over_the_atoms_of_all_crystals() -> None:
    network, both = model(), crystals()
    whole = collate(both, dtype=torch.float64)
    call(network, whole)
    (together, _), alone = (
        [shell_profile(layer).weight for layer in weights_on_crystals(network, whole)],
        [
            shell_profile(weights_on_crystals(network, collate([one], dtype=torch.float64))[0])
            for one in both
        ],
    )
    assert_close(together, (3 * alone[0].weight + 2 * alone[1].weight) / 5)
    assert together.shape == (21, 2)


def test_without_atoms_a_profile_is_zero() -> None:
    structure = Crystals.from_ptr(torch.zeros(0, 3), torch.zeros(0, 3, 3), torch.tensor([0]))
    nothing = torch.zeros(0, 2)
    layer = CrystalWeights(structure, nothing, nothing, torch.zeros(0, 3).long(), False)
    assert not shell_profile(layer, 1.0, 2.0).weight.any()


@pytest.mark.usefixtures("plain")
def test_every_head_has_a_panel_with_the_images_it_attends_to(tmp_path) -> None:
    network, both = model(), crystals()
    batch = collate(both, dtype=torch.float64)
    call(network, batch)
    seen = image_weights(weights_on_crystals(network, batch)[0], 1, 0)
    figure = attention_on_crystal(both[0], seen, num_columns=2)
    figure.savefig(tmp_path / "crystal.png")
    assert len(figure.axes) == 2
    for head, panel in enumerate(figure.axes):
        home, images, ring = panel.collections
        highest = float(seen.weight[:, head].max())
        assert panel.get_title().endswith(f"{float(seen.sigma[head]):.2f} Å, highest {highest:.2g}")
        drawn = seen.weight[seen.weight[:, head] >= 0.005 * highest, head]
        areas = sorted(images.get_sizes().tolist())
        numpy.testing.assert_allclose(areas, sorted((260 * drawn / highest).tolist()), rtol=1e-5)
        assert len(panel.lines) == 12  # the edges of the cell
        fractional = torch.tensor(numpy.array(home._offsets3d).T) @ both[0].lattice.inverse()
        assert_close(fractional, both[0].fractional % 1)
        where = torch.tensor(numpy.array(ring._offsets3d).T)[0]
        assert_close(where, (both[0].fractional[1] % 1) @ both[0].lattice)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["O", "Fe"]
    assert len(attention_on_crystal(both[0], seen, heads=[1]).axes) == 1


def test_every_profile_has_a_panel_and_every_head_steps() -> None:
    weight = torch.tensor([[0.5, 0.25], [0.25, 0.25], [0.25, 0.5]]).double()
    profiles = {name: ShellProfile(2.0, weight) for name in ("layer 1", "layer 2", "layer 3")}
    figure = attention_in_shells(profiles, quantity="weight")
    *panels, empty = figure.axes
    assert [panel.get_title() for panel in panels] == list(profiles)
    assert not empty.patches
    values, borders, _ = panels[0].patches[1].get_data()
    assert (values.tolist(), borders.tolist()) == ([0.25, 0.25, 0.5], [0.0, 2.0, 4.0, 6.0])
    assert panels[0].get_xlabel() == "distance (Å), from 4 on as one"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["head 1", "head 2"]


def test_parity_tells_the_mean_absolute_error_with_its_unit(tmp_path) -> None:
    predicted, target = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1.0, 2.5, 3.0])
    figure = parity(predicted, target, "eV/atom", quantity="formation energy")
    figure.savefig(tmp_path / "parity.png")
    (axes,) = figure.axes
    assert axes.get_title() == "MAE 0.5 eV/atom, n = 3"
    assert axes.get_xlabel() == "target formation energy (eV/atom)"
    assert axes.get_ylabel() == "predicted formation energy (eV/atom)"
    points = numpy.asarray(axes.collections[0].get_offsets())
    assert points.tolist() == [[1.0, 1.0], [2.5, 2.0], [3.0, 4.0]]
    assert axes.get_xlim() == axes.get_ylim()
    plain_numbers = parity(target, target, "1").axes[0]
    assert plain_numbers.get_title() == "MAE 0, n = 3"
    assert plain_numbers.get_xlabel() == "target"


def test_what_cannot_be_drawn_is_named() -> None:
    layer = simple_cube(1.0)
    seen, (three, two) = image_weights(layer, 0), crystals()
    one = Crystal("one", two.numbers[:1], two.fractional[:1], two.lattice)
    with pytest.raises(IndexError, match=r"atom must lie in \[0, 1\), got 1"):
        image_weights(layer, 1)
    with pytest.raises(IndexError, match=r"crystal must lie in \[0, 1\), got -1"):
        image_weights(layer, 0, -1)
    with pytest.raises(ValueError, match=r"step must be positive, .* got 2.0 and 1.0"):
        shell_profile(layer, 2.0, 1.0)
    with pytest.raises(ValueError, match="seen must be of the crystal with 3 atoms, got 1"):
        attention_on_crystal(three, seen)
    with pytest.raises(TypeError, match="seen must be ImageWeights, got CrystalWeights"):
        attention_on_crystal(one, layer)
    with pytest.raises(ValueError, match=r"not negative, got -0\."):
        attention_on_crystal(one, seen._replace(weight=-seen.weight))
    with pytest.raises(ValueError, match=r"heads must lie in \[0, 1\), got 1"):
        attention_on_crystal(one, seen, heads=[1])
    with pytest.raises(ValueError, match="heads must hold at least one head, got none"):
        attention_on_crystal(one, seen, heads=[])
    for wrong, message in (
        ((torch.zeros(2, 2), torch.zeros(2)), r"predicted must be \(S,\) or \(S, 1\), got \(2, 2"),
        ((torch.zeros(2), torch.tensor([0.0, math.nan])), "target must be finite"),
        ((torch.zeros(2), torch.zeros(3)), "at least one, got 2 and 3"),
        ((torch.zeros(0), torch.zeros(0)), "at least one, got 0 and 0"),
    ):
        with pytest.raises(ValueError, match=message):
            parity(*wrong, "eV")
    with pytest.raises(ValueError, match="profiles must hold at least one profile, got none"):
        attention_in_shells({})
