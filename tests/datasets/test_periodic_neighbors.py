"""Periodic neighbours: against counting images, ties, gradients."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from graphattn import Edges
from graphattn.datasets.crystal_files import crystal_from_dictionary
from graphattn.datasets.crystals import Crystal, CrystalBatch, collate
from graphattn.datasets.periodic_neighbors import (
    PeriodicNeighbors,
    nearest_periodic_neighbors,
    periodic_neighbors,
)


def crystal(name: str, fractional: list[list[float]], lattice: list[list[float]]) -> Crystal:
    record = {"numbers": [6] * len(fractional), "fractional": fractional, "lattice": lattice}
    return crystal_from_dictionary(record, name=name)


SALT = crystal(
    "rock salt", [[0, 0, 0], [0.5, 0.5, 0.5]], [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]
)
SKEWED = crystal(
    "skewed, far outside its cell",
    [[0.1, -3.2, 0.7], [7.4, 0.3, 0.2], [-0.001, 0.6, 5.5]],
    [[3.1, 0, 0], [2.9, 1.9, 0], [-2.5, 1.2, 4.3]],
)
CHAIN = crystal("one atom", [[0.3, 0.3, 0.3]], [[1.5, 0, 0], [0, 9, 0], [0, 0, 11]])


def batch_of(*crystals: Crystal) -> CrystalBatch:
    return collate(crystals, dtype=torch.float64)


def rows(found: PeriodicNeighbors) -> list[tuple[int, ...]]:
    """Target, source and shift of each edge."""
    source, target = found.edge_index
    columns = torch.stack([target, source], dim=1)
    return [tuple(row) for row in torch.cat([columns, found.shift], dim=1).tolist()]


def counted(crystals: list[Crystal], cutoff: float) -> list[tuple[int, ...]]:
    """All images in a far larger range, looked at one by one."""
    found, start = [], 0
    for one in crystals:
        position, lattice = one.position.numpy(), one.lattice.numpy()
        spread = int(np.ptp(one.fractional.numpy())) + 12
        images = np.array(list(itertools.product(range(-spread, spread + 1), repeat=3)))
        for target, source in itertools.product(range(len(one)), repeat=2):
            apart = position[source] - position[target] + images @ lattice
            distance = np.linalg.norm(apart, axis=1)
            is_near = (distance < cutoff) & ((distance > 0) | (source != target))
            found += [(start + target, start + source, *map(int, n)) for n in images[is_near]]
        start += len(one)
    return found


@pytest.mark.parametrize("cutoff", [1.6, 6.3])
def test_neighbors_are_those_of_counting_images(cutoff: float) -> None:
    crystals = [SALT, SKEWED, CHAIN]
    batch = batch_of(*crystals)
    found = periodic_neighbors(batch, cutoff)
    assert rows(found) == counted(crystals, cutoff)  # also sorted alike
    assert found.distance.max() < cutoff
    assert found.distance.min() > 1
    source, target = found.edge_index
    images = torch.stack(
        [
            n @ batch.lattice[g]
            for n, g in zip(found.shift.double(), batch.batch[target], strict=True)
        ]
    )
    torch.testing.assert_close(
        found.displacement, batch.position[source] + images - batch.position[target]
    )


def test_edges_are_taken_as_they_are_by_attention() -> None:
    batch = batch_of(SALT, SKEWED)
    found = periodic_neighbors(batch, 4.0)
    edges = Edges.from_edge_index(found.edge_index, len(batch.numbers), len(batch.numbers))
    assert edges.num_edges == found.edge_index.shape[1]
    assert torch.equal(found.edge_index[1], found.edge_index[1].sort(stable=True).values)


def test_a_shell_of_neighbors_is_taken_whole() -> None:
    found = nearest_periodic_neighbors(batch_of(SALT), 4)
    assert found.edge_index[1].bincount().tolist() == [6, 6]  # the nearest shell of rock salt
    torch.testing.assert_close(found.distance, torch.full((12,), 2.8).double())
    found = nearest_periodic_neighbors(batch_of(SALT), 7)
    assert found.edge_index[1].bincount().tolist() == [18, 18]  # and the second shell
    assert found.distance.max() == pytest.approx(2.8 * math.sqrt(2))


def test_the_cutoff_grows_until_every_atom_has_its_neighbors() -> None:
    found = nearest_periodic_neighbors(batch_of(CHAIN, SALT), 13, cutoff=2.0)
    counts = found.edge_index[1].bincount()
    assert int(counts.min()) >= 13
    of_chain = found.distance[found.edge_index[1] == 0]
    assert of_chain.max() == pytest.approx(9.0 + 0.0)  # across the chains, with those of the chain
    assert counts[0] == 12 + 2


def nearest_distances(position: Tensor, order: Tensor) -> Tensor:
    moved = SKEWED.fractional[order] + position
    other = dataclasses.replace(SKEWED, fractional=moved)
    return nearest_periodic_neighbors(batch_of(other), 12).distance.sort().values


def test_neighbors_do_not_hang_on_origin_or_order_of_atoms() -> None:
    same = torch.tensor([0, 1, 2])
    expected = nearest_distances(torch.zeros(3).double(), same)
    moved = nearest_distances(torch.tensor([0.37, -2.6, 0.91]).double(), same[[2, 0, 1]])
    torch.testing.assert_close(moved, expected)


def test_gradients_pass_to_positions_and_lattice() -> None:
    batch = batch_of(SALT, SKEWED)

    def displacement(position: Tensor, lattice: Tensor) -> Tensor:
        moved = dataclasses.replace(batch, position=position, lattice=lattice)
        return periodic_neighbors(moved, 3.3).displacement

    inputs = (batch.position.requires_grad_(), batch.lattice.requires_grad_())
    assert torch.autograd.gradcheck(displacement, inputs)


def test_no_crystals_and_no_neighbors_give_no_edges() -> None:
    for found in (
        periodic_neighbors(batch_of(), 5.0),
        nearest_periodic_neighbors(batch_of(), 12),
        periodic_neighbors(batch_of(CHAIN), 1.0),
    ):
        assert found.edge_index.shape == (2, 0)
        assert found.edge_index.dtype == torch.int64
        assert found.displacement.shape == (0, 3)
        assert found.shift.shape == (0, 3)


def test_bad_input_is_named() -> None:
    for cutoff in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"cutoff must be above zero and finite, got {cutoff}"):
            periodic_neighbors(batch_of(SALT), cutoff)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        nearest_periodic_neighbors(batch_of(SALT), 0)
