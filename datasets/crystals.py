"""Crystals: the record of one, its checks, and batches without padding."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree  # type: ignore[import-untyped]
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.datasets.chemical_elements import SYMBOLS

CLOSEST = 0.01  # ångström: atoms nearer than this are at one place, up to what files round off
FLATTEST = 1e-4  # of the box with these edges: a cell with less volume has none

_Array = np.ndarray[Any, np.dtype[np.float64]]


class Quantity(NamedTuple):
    """A number with its unit.

    Attributes:
        value: NaN where it is not known.
        unit: As people write it, such as ``"eV/atom"``; ``"1"`` for plain numbers.
    """

    value: float
    unit: str


@dataclass(frozen=True, eq=False)
class Crystal:
    """Atoms in a cell that repeats without end, and what is known of them.

    A record is checked when it is made; every error begins with its name.

    Attributes:
        name: How reports and errors call it, such as ``"mp-10"``.
        numbers: Atomic numbers, ``(n,)`` int64, from 1 to 118; at least one.
        fractional: Coordinates in units of the lattice vectors, ``(n, 3)`` float64. Any period
            will do: what lies outside the cell stands for its image inside.
        lattice: Its rows are the lattice vectors in ångström, ``(3, 3)`` float64, right-handed.
        targets: Properties by name, with their units.

    Raises:
        TypeError: If a tensor is of another type.
        ValueError: If a tensor has another shape, a coordinate is not finite, there is no atom, an
            atomic number is of no element, the lattice is singular or left-handed, or two atoms
            are at one place.
    """

    name: str
    numbers: Tensor
    fractional: Tensor
    lattice: Tensor
    targets: Mapping[str, Quantity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = _check_tensors(self)
        if size == 0:
            raise ValueError(f"{self.name}: a crystal must have atoms, got none")
        unknown = [number for number in self.numbers.tolist() if not 1 <= number <= len(SYMBOLS)]
        if unknown:
            raise ValueError(
                f"{self.name}: numbers must be atomic numbers from 1 to {len(SYMBOLS)}, "
                f"got {unknown[0]}: an unknown element"
            )
        lattice, fractional = self.lattice.numpy(), self.fractional.numpy()
        for given, value in (("lattice", lattice), ("fractional", fractional)):
            if not np.isfinite(value).all():
                raise ValueError(f"{self.name}: {given} must be finite, got {value.tolist()[:8]}")
        _check_lattice(self.name, lattice)
        _check_distances(self, lattice, fractional)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def position(self) -> Tensor:
        """Cartesian coordinates in ångström, ``(n, 3)`` float64."""
        return self.fractional @ self.lattice

    @property
    def formula(self) -> str:
        """What the cell holds, such as ``"Ba2 O3"``, in the order of the atomic numbers."""
        counts = self.numbers.bincount().tolist()
        return " ".join(f"{SYMBOLS[n - 1]}{count}" for n, count in enumerate(counts) if count)


def _check_tensors(crystal: Crystal) -> int:
    """Checks types and shapes; returns the number of atoms."""
    size = len(crystal.numbers) if isinstance(crystal.numbers, Tensor) else 0
    wanted = {
        "numbers": (torch.int64, (size,)),
        "fractional": (torch.float64, (size, 3)),
        "lattice": (torch.float64, (3, 3)),
    }
    for given, (dtype, shape) in wanted.items():
        value = getattr(crystal, given)
        if not isinstance(value, Tensor) or value.dtype != dtype:
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{crystal.name}: {given} must be a {dtype} tensor, got {got}")
        if value.shape != shape:
            raise ValueError(f"{crystal.name}: {given} must be {shape}, got {tuple(value.shape)}")
    return size


def _check_lattice(name: str, lattice: _Array) -> None:
    volume = float(np.linalg.det(lattice))
    box = float(np.prod(np.linalg.norm(lattice, axis=1)))
    if abs(volume) <= FLATTEST * box:
        raise ValueError(
            f"{name}: lattice must not be singular, got a cell of {abs(volume):.3g} Å³ with edges "
            f"{np.linalg.norm(lattice, axis=1).round(4).tolist()} Å"
        )
    if volume < 0:
        raise ValueError(
            f"{name}: lattice must be right-handed, got a left-handed one: swap two of its vectors "
            "and the two columns of fractional that belong to them"
        )


def _check_distances(
    crystal: Crystal,
    lattice: _Array,
    fractional: _Array,
) -> None:
    # Atoms this near are near in fractional coordinates too, where the cell is a cube with sides
    # of one that a tree knows how to wrap; so no image needs to be looked at.
    reach = min(CLOSEST * float(np.linalg.norm(np.linalg.inv(lattice), ord=2)), 0.49)
    wrapped = fractional - np.floor(fractional)
    wrapped[wrapped >= 1] = 0  # of a coordinate a rounding error below zero
    pairs = cKDTree(wrapped, boxsize=1).query_pairs(reach, output_type="ndarray")
    apart = wrapped[pairs[:, 0]] - wrapped[pairs[:, 1]]
    distance = np.linalg.norm((apart - apart.round()) @ lattice, axis=1)
    if not (distance < CLOSEST).any():
        return
    nearest = int(distance.argmin())
    first, second = pairs[nearest].tolist()
    symbols = [SYMBOLS[int(crystal.numbers[atom]) - 1] for atom in (first, second)]
    raise ValueError(
        f"{crystal.name}: two atoms must not be at one place, got atoms {first} ({symbols[0]}) and "
        f"{second} ({symbols[1]}), counted from zero, {distance[nearest]:.4f} Å apart"
    )


@dataclass(frozen=True, eq=False)
class CrystalBatch:
    """Crystals one after another, as layers take them; nothing is padded.

    Attributes:
        names: Of the crystals, ``S`` of them.
        numbers: Atomic numbers, ``(N,)`` int64.
        fractional: Coordinates in units of the lattice vectors, ``(N, 3)``.
        position: Cartesian coordinates in ångström, ``(N, 3)``.
        lattice: Rows are lattice vectors in ångström, ``(S, 3, 3)``.
        ptr: Atoms of crystal ``s`` stand at ``ptr[s]:ptr[s + 1]``, ``(S + 1,)`` int64.
        targets: Properties by name, ``(S,)`` each, NaN where one is not known.
        units: The unit of each property.
    """

    names: list[str]
    numbers: Tensor
    fractional: Tensor
    position: Tensor
    lattice: Tensor
    ptr: Tensor
    targets: dict[str, Tensor]
    units: dict[str, str]

    @property
    def num_crystals(self) -> int:
        """How many crystals there are, ``S``."""
        return len(self.names)

    @property
    def batch(self) -> Tensor:
        """The crystal of each atom, ``(N,)`` int64."""
        every = torch.arange(self.num_crystals, device=self.ptr.device)
        return every.repeat_interleave(self.ptr.diff(), output_size=len(self.numbers))

    def blocks(self) -> Blocks:
        """All pairs of atoms of one crystal: the structure of attention between them."""
        return Blocks.from_ptr(self.ptr)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "CrystalBatch":
        """The same crystals on another device; ``non_blocking`` as of ``Tensor.to``."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "CrystalBatch":
        """The same crystals in memory from which a GPU copies fast; loaders of PyTorch call it."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "CrystalBatch":
        return dataclasses.replace(
            self,
            numbers=change(self.numbers),
            fractional=change(self.fractional),
            position=change(self.position),
            lattice=change(self.lattice),
            ptr=change(self.ptr),
            targets={name: change(value) for name, value in self.targets.items()},
        )


def collate(crystals: Sequence[Crystal], *, dtype: torch.dtype | None = None) -> CrystalBatch:
    """Puts crystals one after another: the ``collate_fn`` of a ``DataLoader`` over them.

    Args:
        crystals: All with the same targets in the same units.
        dtype: Of coordinates and targets; without it, PyTorch's default. Cartesian coordinates are
            computed in float64 and then rounded to it.

    Returns:
        The batch; no crystals give one without atoms.

    Raises:
        ValueError: If two crystals differ in their targets or their units.
    """
    dtype = dtype or torch.get_default_dtype()
    units = {name: unit for name, (_, unit) in crystals[0].targets.items()} if crystals else {}
    for crystal in crystals:
        found = {name: unit for name, (_, unit) in crystal.targets.items()}
        if found != units:
            raise ValueError(
                f"crystals must have the same targets in the same units, got {units} of "
                f"{crystals[0].name} and {found} of {crystal.name}"
            )
    sizes = torch.tensor([0, *(len(crystal) for crystal in crystals)])
    empty = torch.empty(0, 3, dtype=torch.float64)
    return CrystalBatch(
        names=[crystal.name for crystal in crystals],
        numbers=torch.cat([sizes[:0], *(crystal.numbers for crystal in crystals)]),
        fractional=torch.cat([empty, *(crystal.fractional for crystal in crystals)]).to(dtype),
        position=torch.cat([empty, *(crystal.position for crystal in crystals)]).to(dtype),
        lattice=torch.cat([empty, *(crystal.lattice for crystal in crystals)])
        .view(-1, 3, 3)
        .to(dtype),
        ptr=sizes.cumsum(0),
        targets={
            name: torch.tensor([crystal.targets[name].value for crystal in crystals], dtype=dtype)
            for name in units
        },
        units=units,
    )
