"""Symmetries of crystals, smoothness, and forces, of whole Crystalformers."""

import ase
import ase.build
import pytest
import torch
from crystal_models import ASSORTED, ATTENTIONS, atoms, settled
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from graphattn.attention import EdgeAttention
from graphattn.models.crystalformer import Crystalformer

LEFT_OUT = 1e-6  # of its logits, which a layer makes less of, a sum leaves out a millionth


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention by its definition, which is another one than the compiled program's."""
    monkeypatch.setattr(EdgeAttention, "_is_compiled", lambda *_: False)


@pytest.fixture(params=ATTENTIONS)
def model(request: pytest.FixtureRequest, plain: None) -> Crystalformer:
    return settled(attention=ATTENTIONS[request.param])


def test_the_origin_does_not_matter(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms(*ASSORTED)
    shift = torch.tensor([[3.7, -1.2, 0.45]], dtype=torch.float64)
    found = model(numbers, position + shift, lattice, ptr)
    assert_close(found, model(numbers, position, lattice, ptr), atol=LEFT_OUT, rtol=0)


def test_rotations_and_reflections_do_not_matter(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms(*ASSORTED)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    expected = model(numbers, position, lattice, ptr)
    for one in (turn, -turn):
        found = model(numbers, position @ one, lattice @ one, ptr)
        assert_close(found, expected, atol=LEFT_OUT, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        [[1, 1, 0], [0, 1, 0], [-1, 0, 1]],
        [[1, 0, 0], [2, 1, 0], [-1, 3, -1]],
    ],
    ids=["other order", "sums", "far and left-handed"],
)
def test_the_choice_of_the_lattice_vectors_does_not_matter(
    model: Crystalformer, change: list[list[int]]
) -> None:
    numbers, position, lattice, ptr = atoms(*ASSORTED)
    found = model(numbers, position, torch.tensor(change, dtype=torch.float64) @ lattice, ptr)
    assert_close(found, model(numbers, position, lattice, ptr), atol=LEFT_OUT, rtol=0)


def test_a_reduced_cell_gives_the_same(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms("skewed")
    cell = ase.Atoms(numbers, positions=position.numpy(), cell=lattice[0].numpy(), pbc=True)
    ase.build.niggli_reduce(cell)
    reduced = torch.from_numpy(cell.cell.array).unsqueeze(0)
    assert not torch.allclose(reduced.square().sum(-1), lattice.square().sum(-1))
    found = model(numbers, torch.from_numpy(cell.positions), reduced, ptr)
    assert_close(found, model(numbers, position, lattice, ptr), atol=LEFT_OUT, rtol=0)


def test_atoms_may_be_given_in_any_cell(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms(*ASSORTED)
    owner = torch.arange(len(lattice)).repeat_interleave(ptr.diff())
    steps = torch.randint(-3, 4, (len(position), 1, 3)).double()
    away = position + (steps @ lattice[owner]).squeeze(1)
    found = model(numbers, away, lattice, ptr)
    assert_close(found, model(numbers, position, lattice, ptr), atol=LEFT_OUT, rtol=0)


@pytest.mark.parametrize(
    "times",
    [[[2, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]],
    ids=["along one vector", "across two"],
)
def test_a_cell_twice_as_large_gives_the_same(model: Crystalformer, times: list[list[int]]) -> None:
    numbers, position, lattice, ptr = atoms("skewed")
    larger = torch.tensor(times, dtype=torch.float64) @ lattice
    both = torch.cat([position, position + lattice[0, 0]])
    found = model(numbers.repeat(2), both, larger, 2 * ptr)
    assert_close(found, model(numbers, position, lattice, ptr), atol=LEFT_OUT, rtol=0)


@pytest.mark.usefixtures("plain")
def test_sums_over_atoms_grow_with_the_cell() -> None:
    model = settled(pool="sum")
    numbers, position, lattice, ptr = atoms("skewed")
    larger = torch.cat([2 * lattice[:, :1], lattice[:, 1:]], dim=1)
    both = torch.cat([position, position + lattice[0, 0]])
    model.readout = nn.Identity()
    found = model(numbers.repeat(2), both, larger, 2 * ptr)
    assert_close(found, 2 * model(numbers, position, lattice, ptr), atol=LEFT_OUT, rtol=0)


def test_the_order_of_atoms_does_not_matter(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms("skewed")
    order = torch.tensor([2, 0, 1])
    found = model(numbers[order], position[order], lattice, ptr)
    assert_close(found, model(numbers, position, lattice, ptr))


def test_a_crystal_gives_the_same_alone_and_beside_others(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms("empty", *ASSORTED, "empty")
    whole = model(numbers, position, lattice, ptr)
    for crystal in range(len(lattice)):
        own = slice(*ptr[crystal : crystal + 2].tolist())
        one = (numbers[own], position[own], lattice[crystal : crystal + 1])
        assert_close(model(*one), whole[crystal : crystal + 1])
    assert_close(whole[0], whole[-1])


def test_nothing_jumps_when_an_atom_crosses_a_face_of_the_cell(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms("skewed")
    across = lattice[0, 0] / lattice[0, 0].norm()  # the face is where the first coordinate is zero
    step = 1e-3

    def answer(away: float) -> tuple[Tensor, Tensor]:
        moved = position.clone()
        moved[0] = away * across
        moved.requires_grad_()
        energy = model(numbers, moved, lattice, ptr)[0, 0]
        (gradient,) = torch.autograd.grad(energy, moved)
        return energy.detach(), gradient[0] @ across

    before, after = answer(-step), answer(step)
    # What slopes before and after say of the difference, to the third power of the step.
    assert_close(after[0] - before[0], step * (before[1] + after[1]), atol=1e-7, rtol=0)
    tiny = [answer(away) for away in (-1e-9, 1e-9)]
    for one, other in zip(*tiny, strict=True):
        assert_close(one, other, atol=LEFT_OUT, rtol=0)


def test_forces_and_stresses_are_derivatives(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms("left-handed", "one atom")

    def energy(position: Tensor, lattice: Tensor) -> Tensor:
        found: Tensor = model(numbers, position, lattice, ptr)
        return found

    assert gradcheck(
        energy, (position.requires_grad_(), lattice.requires_grad_()), fast_mode=True, atol=1e-5
    )


def test_forces_add_up_to_nothing(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms("skewed")
    energy = model(numbers, position.requires_grad_(), lattice, ptr)[:, 0].sum()
    (gradient,) = torch.autograd.grad(energy, position)
    assert gradient.norm() > 1e-3
    assert_close(gradient.sum(0), torch.zeros(3).double(), atol=LEFT_OUT, rtol=0)


def test_a_network_can_learn_from_forces(model: Crystalformer) -> None:
    numbers, position, lattice, ptr = atoms("skewed")
    energy = model(numbers, position.requires_grad_(), lattice, ptr)[:, 0].sum()
    (force,) = torch.autograd.grad(energy, position, create_graph=True)
    weight = model.layers[0].attention.lin_value.weight
    (slope,) = torch.autograd.grad(force.square().sum(), weight)
    direction = torch.randn_like(weight)

    def loss(step: float) -> Tensor:
        with torch.no_grad():
            weight.add_(step * direction)
        energy = model(numbers, position, lattice, ptr)[:, 0].sum()
        (force,) = torch.autograd.grad(energy, position)
        with torch.no_grad():
            weight.sub_(step * direction)
        return force.square().sum()

    difference = (loss(1e-4) - loss(-1e-4)) / 2e-4
    assert_close((slope * direction).sum(), difference, rtol=1e-4, atol=1e-6)
