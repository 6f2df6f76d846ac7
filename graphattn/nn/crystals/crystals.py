"""Crystals side by side: where their atoms are, how their cells repeat, which atoms are of one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_floating, check_sets


@dataclass(frozen=True)
class Crystals:
    """The structure that layers on crystals read, made once for all layers of a network.

    Attributes:
        position: Cartesian coordinates of the atoms of all crystals, one after another, ``(N, 3)``,
            in Å.
        lattice: Lattice vectors of each crystal as rows, ``(S, 3, 3)``, in Å.
        blocks: Which atoms are of one crystal; ``P`` pairs, the sum of the squares of the numbers
            of atoms.

    Raises:
        TypeError: If a coordinate is not floating point, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit, or queries and keys are not the same atoms.
    """

    position: Tensor
    lattice: Tensor
    blocks: Blocks

    def __post_init__(self) -> None:
        check_sets(self.blocks)
        check_floating("position", self.position)
        check_floating("lattice", self.lattice)
        atoms, sets = self.blocks.num_targets, self.blocks.num_sets
        if self.blocks.num_sources != atoms:
            raise ValueError(f"blocks must pair atoms with atoms, got {self.blocks}")
        if self.position.shape != (atoms, 3):
            raise ValueError(f"position must be ({atoms}, 3), got {tuple(self.position.shape)}")
        if self.lattice.shape != (sets, 3, 3):
            raise ValueError(f"lattice must be ({sets}, 3, 3), got {tuple(self.lattice.shape)}")

    @classmethod
    def from_ptr(cls, position: Tensor, lattice: Tensor, ptr: Tensor) -> "Crystals":
        """Crystals from the borders between them.

        Args:
            position: ``(N, 3)``, in Å.
            lattice: ``(S, 3, 3)``, in Å.
            ptr: Crystal ``s`` has the atoms ``ptr[s]:ptr[s + 1]``; ``(S + 1,)``, int64, rising from
                0 to ``N``; crystals may be empty.

        Raises:
            TypeError: See ``Crystals`` and ``Blocks.from_ptr``.
            ValueError: Likewise.
        """
        return cls(position, lattice, Blocks.from_ptr(ptr))

    @property
    def ptr(self) -> Tensor:
        """Crystal ``s`` has the atoms ``ptr[s]:ptr[s + 1]``."""
        return self.blocks.target_ptr

    @property
    def num_pairs(self) -> int:
        """``P``."""
        return self.blocks.num_edges

    def everywhere(self, count: int) -> Tensor:
        """The same number of cells in each direction, ``(S, 3)``, int64."""
        return torch.full((self.blocks.num_sets, 3), count)
