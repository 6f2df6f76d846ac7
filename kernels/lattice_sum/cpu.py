"""Lattice sums on the CPU: calls of the compiled walks."""

import torch
from torch import Tensor

from graphattn.kernels.lattice_sum.backward import BACKWARD
from graphattn.kernels.lattice_sum.crystals import Launch
from graphattn.kernels.lattice_sum.source import FORWARD

_NAMES = {
    (False, False): "backward_sigma",
    (False, True): "backward_weight",
    (True, False): "backward_geometry",
    (True, True): "backward_all",
}


def lattice_sum(
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    weight: Tensor,
    images: Tensor,
    num_pairs: int,
    spacing: float,
    width: float,
    exclude_self: bool,
) -> tuple[Tensor, Tensor]:
    """See ``op.lattice_sum``."""
    launch = Launch(position, lattice, ptr, sigma, images, weight, spacing, width, exclude_self)
    alpha = sigma.new_empty(num_pairs, weight.shape[0])
    beta = sigma.new_empty(num_pairs, *weight.shape[:2])
    launch(FORWARD + BACKWARD, "forward", alpha, beta)
    return alpha, beta


def lattice_sum_backward(
    grad_alpha: Tensor,
    grad_beta: Tensor,
    alpha: Tensor,
    beta: Tensor,
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    weight: Tensor,
    images: Tensor,
    spacing: float,
    width: float,
    exclude_self: bool,
    want_geometry: bool,
    want_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of positions, lattice, sigma and weight; empty ones where they are not wanted."""
    launch = Launch(position, lattice, ptr, sigma, images, weight, spacing, width, exclude_self)
    num_pairs, num_queries, num_crystals = (
        (alpha.shape[0], position.shape[0], lattice.shape[0]) if want_geometry else (0, 0, 0)
    )
    of_pairs = sigma.new_empty(num_pairs, 3)
    of_queries = torch.empty(num_queries, 3, 3, dtype=torch.float64)
    of_position = sigma.new_empty((num_queries, 3) if want_geometry else 0)
    of_lattice = sigma.new_empty((num_crystals, 3, 3) if want_geometry else 0)
    of_sigma = sigma.new_empty(sigma.shape)
    slots = launch.crystals.num_chunks if want_weight else 0
    of_weights = sigma.new_empty(slots, *launch.weight.shape)
    of_padded = sigma.new_empty(launch.weight.shape if want_weight else 0)
    launch(
        FORWARD + BACKWARD,
        _NAMES[want_geometry, want_weight],
        *(t.contiguous() for t in (grad_alpha, grad_beta, beta)),
        of_pairs,
        of_queries,
        of_weights,
        of_sigma,
        of_padded,
        of_position,
        of_lattice,
    )
    if not want_weight:
        return of_position, of_lattice, of_sigma, of_padded
    num_heads, num_channels, _ = weight.shape
    of_weight = of_padded[:, :num_channels, :num_heads].permute(2, 1, 0).contiguous()
    return of_position, of_lattice, of_sigma, of_weight
