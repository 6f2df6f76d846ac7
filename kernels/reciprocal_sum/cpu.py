"""Sums over the reciprocal lattice on the CPU: calls of the compiled walks."""

import torch
from torch import Tensor

from graphattn.kernels.lattice_sum.crystals import Launch
from graphattn.kernels.reciprocal_sum.source import SOURCE


def wave_sum(
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    num_pairs: int,
) -> Tensor:
    """See ``reference.wave_sum``."""
    sums = sigma.new_empty(num_pairs, sigma.shape[1])
    Launch(position, reciprocal, ptr, sigma, waves)(SOURCE, "forward", sums)
    return sums


def wave_sum_backward(
    grad: Tensor,
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    want_geometry: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of positions, reciprocal lattice and sigma; empty ones where not wanted."""
    num_pairs, num_atoms, num_crystals = (
        (grad.shape[0], position.shape[0], len(reciprocal)) if want_geometry else (0, 0, 0)
    )
    of_pairs = sigma.new_empty(num_pairs, 3)
    of_queries = torch.empty(num_atoms, 3, 3, dtype=torch.float64)
    of_sigma = sigma.new_empty(sigma.shape)
    of_position = sigma.new_empty((num_atoms, 3) if want_geometry else 0)
    of_reciprocal = sigma.new_empty((num_crystals, 3, 3) if want_geometry else 0)
    name = "backward_geometry" if want_geometry else "backward_sigma"
    launch = Launch(position, reciprocal, ptr, sigma, waves)
    launch(
        SOURCE, name, grad.contiguous(), of_pairs, of_queries, of_sigma, of_position, of_reciprocal
    )
    return of_position, of_reciprocal, of_sigma
