"""Which crystals are timed: real ones, copies of these, and one crystal in ever larger cells."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from graphattn.datasets.crystal_tables import flla
from graphattn.datasets.crystals import Crystal, CrystalBatch, collate
from graphattn.kernels.lattice_sum import image_range
from graphattn.kernels.lattice_sum.images import cells_of, moved

SUMS, MODEL = "lattice sums", "Crystalformer"
WIDEST = 1.4 * 2**0.5  # ångström: the sigma above which the published model's never are
ROCK_SALT = 5.64  # ångström, the edge of the cube of NaCl with 8 atoms
_NUM_ATOMS = 512  # of rock salt in all, however large its cells


@dataclass(frozen=True)
class CrystalCase:
    """Crystals and what is done with them.

    Attributes:
        name: What the record calls it.
        layer: ``SUMS``, forward and backward, or ``MODEL``, a training step.
        crystals: How many different ones.
        cell: Atoms in a cell of rock salt; 0 for real crystals, drawn from those of ``flla``.
        copies: How often these crystals stand in the batch.
        peers: Who takes part: ``"ours"``, and ``"reference"``, the definition in plain PyTorch.
        rounds: Steps of each.
        has_peak: Whether peak memory is measured too.
    """

    name: str
    layer: str = SUMS
    crystals: int = 64
    cell: int = 0
    copies: int = 1
    peers: tuple[str, ...] = ("ours",)
    rounds: int = 9
    has_peak: bool = False

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "CrystalCase":
        """The case that ``plain`` made."""
        return cls(**{**plain, "peers": tuple(plain["peers"])})

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def batch(self) -> CrystalBatch:
        """The crystals, the same in every process."""
        if self.cell:
            return collate([rock_salt(self.cell)] * self.crystals * self.copies)
        every = flla().crystals
        drawn = np.random.default_rng(0).permutation(len(every))[: self.crystals]
        return collate([every[place] for place in drawn] * self.copies)

    def small(self) -> "CrystalCase":
        """A few crystals of rock salt, which need no files, and one round: to see that it works."""
        cell, copies = min(self.cell or 2, 8), min(self.copies, 4)
        return replace(self, crystals=min(self.crystals, 2), cell=cell, copies=copies, rounds=1)


def rock_salt(num_atoms: int) -> Crystal:
    """NaCl in its cell of 2 atoms, or in a cube of 8, 64, 216, ..."""
    edge = max(2, round(num_atoms ** (1 / 3)))  # of a cube, in atoms: of two kinds by turns
    if num_atoms == 2:
        grid, lattice = torch.tensor([[0, 0, 0], [1, 1, 1]]), 1.0 - torch.eye(3)
    else:
        grid, lattice = torch.cartesian_prod(*[torch.arange(edge)] * 3), edge * torch.eye(3)
    numbers = torch.where(grid.sum(1) % 2 == 0, 11, 17)
    return Crystal(
        f"NaCl-{num_atoms}", numbers, grid.double() / edge, ROCK_SALT / 2 * lattice.double()
    )


def sizes(batch: CrystalBatch) -> dict[str, int]:
    """What a batch has: atoms, pairs of atoms, and images that are summed for all of these."""
    cells = cells_of(batch.position, batch.lattice, batch.ptr)
    inside = moved(batch.position, cells, batch.lattice, batch.ptr)
    sigma = torch.full((len(batch.numbers), 1), WIDEST)
    images = (2 * image_range(inside, batch.lattice, batch.ptr, sigma) + 1).prod(1)
    pairs = batch.ptr.diff().square()
    return {
        "crystals": batch.num_crystals,
        "atoms": len(batch.numbers),
        "pairs": int(pairs.sum()),
        "images": int((pairs * images).sum()),
    }


_REAL = CrystalCase("64 crystals", peers=("ours", "reference"), rounds=5, has_peak=True)
_COPIES = (1, 2, 4, 8, 16)
_CELLS = (2, 8, 64, 512)

# All of a row take turns.
CRYSTAL_CASES: tuple[tuple[CrystalCase, ...], ...] = (
    (_REAL,),
    (replace(_REAL, name="16 crystals", layer=MODEL, crystals=16),),
    tuple(CrystalCase(f"copies {n}", copies=n) for n in _COPIES),
    tuple(CrystalCase(f"cell {n}", crystals=_NUM_ATOMS // n, cell=n) for n in _CELLS),
)
