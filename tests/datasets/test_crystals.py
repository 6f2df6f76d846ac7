"""Crystals: what a record refuses, and batches without padding."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from graphattn.datasets.chemical_elements import SYMBOLS, atomic_number
from graphattn.datasets.crystals import Crystal, CrystalBatch, Quantity, collate

EDGE = 5.64  # ångström


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def salt(name: str = "salt", **changes: Any) -> Crystal:
    """Rock salt in its cell of two atoms, and its energy."""
    half = EDGE / 2
    record = {
        "numbers": torch.tensor([11, 17]),
        "fractional": tensor([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
        "lattice": tensor([[0.0, half, half], [half, 0, half], [half, half, 0]]),
        "targets": {"energy": Quantity(-3.4, "eV/atom")},
    }
    return Crystal(name, **(record | changes))


def chain(length: int) -> Crystal:
    """Carbon atoms in a row, two ångström apart."""
    fractional = torch.zeros(length, 3, dtype=torch.float64)
    fractional[:, 0] = torch.arange(length) / length
    lattice = torch.diag(tensor([2.0 * length, 3.0, 4.0]))
    energy = {"energy": Quantity(float(length), "eV/atom")}
    return Crystal(f"chain {length}", torch.full((length,), 6), fractional, lattice, energy)


def test_a_record_knows_its_positions_and_its_formula() -> None:
    crystal = salt()
    assert len(crystal) == 2
    assert crystal.formula == "Na1 Cl1"
    torch.testing.assert_close(crystal.position[1], tensor([EDGE / 2] * 3))


BAD: dict[str, tuple[Callable[[], Crystal], str]] = {
    "flat cell": (
        lambda: salt(lattice=tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 1e-6]])),
        "lattice must not be singular, got a cell of 1e-06 Å³",
    ),
    "no cell": (lambda: salt(lattice=torch.zeros(3, 3).double()), "lattice must not be singular"),
    "left-handed cell": (
        lambda: salt(lattice=tensor([[0.0, 4, 0], [4, 0, 0], [0, 0, 4]])),
        "lattice must be right-handed, got a left-handed one: swap two of its vectors",
    ),
    "infinite cell": (
        lambda: salt(lattice=torch.diag(tensor([1.0, 1, math.inf]))),
        "lattice must be finite",
    ),
    "unknown place": (
        lambda: salt(fractional=tensor([[0.0, 0, 0], [0, math.nan, 0]])),
        "fractional must be finite",
    ),
    "one place": (
        lambda: salt(fractional=tensor([[0.25, 0, 0.5], [-0.75, 3, 0.501]])),
        r"two atoms must not be at one place, got atoms 0 \(Na\) and 1 \(Cl\).* 0.0040 Å apart",
    ),
    "one place across a face": (
        lambda: salt(fractional=tensor([[0.0, 0, 0], [-1e-17, 0.9999, 0]])),
        "two atoms must not be at one place",
    ),
    "no element": (lambda: salt(numbers=torch.tensor([11, 119])), "got 119: an unknown element"),
    "nothing": (lambda: salt(numbers=torch.tensor([11, 0])), "got 0: an unknown element"),
    "no atoms": (
        lambda: salt(numbers=torch.empty(0).long(), fractional=torch.empty(0, 3).double()),
        "a crystal must have atoms, got none",
    ),
    "too few places": (
        lambda: salt(fractional=torch.zeros(1, 3).double()),
        r"fractional must be \(2, 3\), got \(1, 3\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_record_is_refused_by_name(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(ValueError, match=f"^salt: .*{message}"):
        make()


@pytest.mark.parametrize("name", ["numbers", "fractional", "lattice"])
def test_a_tensor_of_another_type_is_refused_by_name(name: str) -> None:
    wrong = getattr(salt(), name).float()
    with pytest.raises(TypeError, match=rf"^salt: {name} must be a torch\.\w+ tensor, got torch.f"):
        salt(**{name: wrong})


def test_atoms_that_touch_but_are_two_are_kept() -> None:
    near = salt(fractional=tensor([[0.0, 0, 0], [0, 0, 0.006]]), lattice=torch.eye(3).double() * 2)
    assert near.position.diff(dim=0).norm() == pytest.approx(0.012)


def test_images_of_one_atom_in_a_small_cell_are_kept() -> None:
    one = {"numbers": torch.tensor([1]), "fractional": tensor([[0.999999, -5.0, 1.0]])}
    assert len(salt(**one, lattice=torch.eye(3).double() * 0.4)) == 1


def test_elements_are_counted_from_hydrogen() -> None:
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 118
    assert [atomic_number(symbol) for symbol in ("H", "Fe", "Og")] == [1, 26, 118]
    with pytest.raises(ValueError, match="unknown element 'fe'"):
        atomic_number("fe")


def test_crystals_stand_one_after_another() -> None:
    crystals = [chain(3), salt(), chain(1)]
    batch = collate(crystals, dtype=torch.float64)
    assert batch.names == ["chain 3", "salt", "chain 1"]
    assert batch.numbers.tolist() == [6, 6, 6, 11, 17, 6]
    assert batch.ptr.tolist() == [0, 3, 5, 6]
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 2]
    assert batch.num_crystals == len(batch.lattice) == 3
    for place, crystal in enumerate(crystals):
        own = batch.batch == place
        assert torch.equal(batch.position[own], crystal.position)
        assert torch.equal(batch.fractional[own], crystal.fractional)
        assert torch.equal(batch.lattice[place], crystal.lattice)
    assert batch.targets["energy"].tolist() == [3.0, -3.4, 1.0]
    assert batch.units == {"energy": "eV/atom"}
    blocks = batch.blocks()
    assert (blocks.num_targets, blocks.num_edges) == (6, 9 + 4 + 1)


def test_floats_are_of_the_default_type_unless_told() -> None:
    batch = collate([salt()])
    floats = (batch.fractional, batch.position, batch.lattice, batch.targets["energy"])
    assert {value.dtype for value in floats} == {torch.float32}
    assert collate([salt()], dtype=torch.float64).position.dtype == torch.float64
    # Rounded once, from float64, also where the cell is far away.
    far = salt(fractional=tensor([[1e5, 0, 0], [0.5, 0.5, 0.5]]))
    assert torch.equal(collate([far]).position, far.position.float())


def test_no_crystals_give_a_batch_of_none() -> None:
    batch = collate([])
    assert (batch.num_crystals, batch.ptr.tolist(), batch.batch.tolist()) == (0, [0], [])
    assert batch.numbers.dtype == torch.int64
    assert batch.position.shape == (0, 3)
    assert batch.lattice.shape == (0, 3, 3)
    assert (batch.targets, batch.units) == ({}, {})


def test_crystals_of_two_kinds_are_refused() -> None:
    other = salt("other", targets={"energy": Quantity(1.0, "eV")})
    with pytest.raises(ValueError, match=r"same targets in the same units, .*of salt .*of other"):
        collate([salt(), other])
    with pytest.raises(ValueError, match="same targets in the same units"):
        collate([salt(), salt("bare", targets={})])


def test_a_batch_moves_as_a_whole() -> None:
    moved = collate([salt(), chain(2)]).to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, Tensor)]
    assert len(tensors) == 5
    assert {value.device.type for value in (*tensors, moved.targets["energy"])} == {"meta"}
    assert (moved.names, moved.units) == (["salt", "chain 2"], {"energy": "eV/atom"})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_gives_every_crystal_once(num_workers: int) -> None:
    crystals = [chain(length) for length in range(1, 8)]
    loader: DataLoader[Any] = DataLoader(
        crystals,  # type: ignore[arg-type]
        batch_size=3,
        shuffle=True,
        collate_fn=collate,
        num_workers=num_workers,
        multiprocessing_context="fork" if num_workers else None,
    )
    batches: list[CrystalBatch] = list(loader)
    assert [batch.num_crystals for batch in batches] == [3, 3, 1]
    energies = torch.cat([batch.targets["energy"] for batch in batches])
    assert energies.sort().values.tolist() == list(range(1, 8))
    sizes = torch.cat([batch.ptr.diff() for batch in batches])
    assert torch.equal(sizes, energies.long())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for a GPU")
def test_a_batch_is_pinned_as_a_whole() -> None:
    pinned = collate([salt(), chain(2)]).pin_memory()
    tensors = [value for value in vars(pinned).values() if isinstance(value, Tensor)]
    assert all(value.is_pinned() for value in (*tensors, *pinned.targets.values()))
