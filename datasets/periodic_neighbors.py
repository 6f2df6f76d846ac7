"""Neighbours of atoms in crystals, images in other cells included, as lists of edges."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.datasets.crystals import CrystalBatch

TIE = 1e-4  # ångström: neighbours of a shell differ by less, neighbours of two shells by more
GROWTH = 1.5  # of the cutoff, until every atom has its neighbours
_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class PeriodicNeighbors:
    """Edges between atoms and images of atoms, sorted by target, then by source and image.

    An image of an atom in another cell is an edge of its own: two atoms may have many, and an atom
    has some with itself.

    Attributes:
        edge_index: Sources and targets, ``(2, E)`` int64; to be passed to ``Edges``.
        shift: The cell that the source's image lies in, in lattice vectors from that of the
            target, ``(E, 3)`` int64.
        displacement: From the target to the source's image in ångström, ``(E, 3)``. Gradients pass
            to positions and lattice.
    """

    edge_index: Tensor
    shift: Tensor
    displacement: Tensor

    @property
    def distance(self) -> Tensor:
        """Length of each edge in ångström, ``(E,)``; never zero."""
        return self.displacement.norm(dim=1)


def periodic_neighbors(batch: CrystalBatch, cutoff: float) -> PeriodicNeighbors:
    """All atoms and images of atoms within a distance of each atom.

    Found by the library vesin on the processor, one crystal after another: in a time that grows
    with the number of edges.

    Args:
        batch: Crystals, on any device.
        cutoff: Largest distance in ångström, above zero; larger than the cell if you like.

    Returns:
        The edges, on the device of the batch; no atoms have none.

    Raises:
        ValueError: If the cutoff is not above zero and finite.
        ImportError: If vesin is not installed.
    """
    _check_cutoff(cutoff)
    found = [_pairs(*crystal, cutoff) for crystal in _crystals(batch)]
    return _edges(batch, found)


def nearest_periodic_neighbors(
    batch: CrystalBatch, k: int, *, cutoff: float = 8.0
) -> PeriodicNeighbors:
    """The nearest atoms and images of atoms of each atom, with all that are as far as the last.

    So the neighbours do not hang on the order of atoms at one distance; there are ``k`` or more.

    Args:
        batch: Crystals, on any device.
        k: How many neighbours at least, one or more.
        cutoff: Where to look first, in ångström; grows for a crystal until it is enough.

    Returns:
        The edges, on the device of the batch; no atoms have none.

    Raises:
        ValueError: If ``k`` or the cutoff is not above zero.
        ImportError: If vesin is not installed.

    Source: Choudhary and DeCost, "Atomistic Line Graph Neural Network for improved materials
        property predictions", npj Computational Materials 2021, and Yan et al., "Periodic Graph
        Transformers for Crystal Material Property Prediction", NeurIPS 2022, both with ``k = 12``;
        their code adds reversed edges that the nearest neighbours of an atom lack.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    _check_cutoff(cutoff)
    found = []
    for position, lattice in _crystals(batch):
        reach = cutoff
        while True:
            pairs = _pairs(position, lattice, reach)
            counts = np.bincount(pairs[0], minlength=len(position))
            if counts.min(initial=k) >= k:
                break
            reach *= GROWTH
        found.append(_nearest(pairs, counts, position, lattice, k))
    return _edges(batch, found)


def _check_cutoff(cutoff: float) -> None:
    if not 0 < cutoff < float("inf"):
        raise ValueError(f"cutoff must be above zero and finite, got {cutoff}")


def _crystals(batch: CrystalBatch) -> list[tuple[_Array, _Array]]:
    """Positions and lattice of each crystal."""
    position = batch.position.detach().double().cpu().split(batch.ptr.diff().tolist())
    lattice = batch.lattice.detach().double().cpu().unbind()
    return [(own.numpy(), cell.numpy()) for own, cell in zip(position, lattice, strict=True)]


def _pairs(position: _Array, lattice: _Array, cutoff: float) -> tuple[_Array, _Array, _Array]:
    """Targets, sources and shifts within a cutoff, in a fixed order."""
    try:
        import vesin
    except ImportError as error:
        raise ImportError(
            "lists of periodic neighbours need vesin: pip install graphattn[crystals]"
        ) from error
    neighbors = vesin.NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    target, source, shift = neighbors.compute(
        points=position, box=lattice, periodic=True, quantities="ijS"
    )
    order = np.lexsort((*shift.T[::-1], source, target))
    return target[order].astype(np.int64), source[order].astype(np.int64), shift[order]


def _nearest(
    pairs: tuple[_Array, _Array, _Array],
    counts: _Array,
    position: _Array,
    lattice: _Array,
    k: int,
) -> tuple[_Array, _Array, _Array]:
    target, source, shift = pairs
    distance = np.linalg.norm(position[source] + shift @ lattice - position[target], axis=1)
    by_distance = distance[np.lexsort((distance, target))]
    first = np.cumsum(counts) - counts  # of each target
    farthest = by_distance[first + k - 1] + TIE
    is_near = distance <= farthest[target]
    return target[is_near], source[is_near], shift[is_near]


def _edges(batch: CrystalBatch, found: list[tuple[_Array, _Array, _Array]]) -> PeriodicNeighbors:
    """Joins the edges of crystals; displacements are computed where gradients are kept."""
    device = batch.position.device
    starts, sizes = batch.ptr[:-1].tolist(), [len(target) for target, _, _ in found]
    none = np.empty(0, dtype=np.int64)
    columns = [
        np.concatenate(
            [none, *(pairs[end] + start for pairs, start in zip(found, starts, strict=True))]
        )
        for end in (1, 0)  # sources, then targets
    ]
    shifts = np.concatenate([none.reshape(0, 3), *(shift for _, _, shift in found)])
    edge_index = torch.from_numpy(np.stack(columns)).to(device)
    shift = torch.from_numpy(shifts.astype(np.int64)).to(device)
    crystal = torch.arange(len(found)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
    source, target = edge_index
    cells = batch.lattice[crystal.to(device)]  # (E, 3, 3)
    image = (shift.to(cells.dtype)[:, None, :] @ cells).squeeze(1)  # (E, 3)
    displacement = batch.position[source] + image - batch.position[target]
    return PeriodicNeighbors(edge_index, shift, displacement)
