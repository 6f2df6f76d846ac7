"""Lattice sums in plain PyTorch: the definition, crystal by crystal, every image by itself.

The gradients are written out, since autograd does not record within operators; they can be
differentiated again.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


def lattice_sum(
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    weight: Tensor,
    images: Tensor,
    spacing: float,
    width: float,
    exclude_self: bool,
) -> tuple[Tensor, Tensor]:
    """See ``op.lattice_sum``, whose arguments these are once they were checked."""
    num_basis = weight.shape[2]
    # Without atoms, too, the results are functions of the inputs.
    alphas, betas = [sigma[:0]], [torch.einsum("nh,hck->nhc", sigma[:0], weight)]
    for crystal, atoms in crystals(ptr):
        number = all_images(images[crystal]).to(lattice)
        seen = see(position[atoms], lattice[crystal], number, sigma[atoms], exclude_self)
        mean = torch.einsum("ijmh,ijmk->ijhk", seen.share, seen.basis(num_basis, spacing, width))
        alphas.append(seen.alpha.flatten(0, 1))
        betas.append(torch.einsum("ijhk,hck->ijhc", mean, weight).flatten(0, 1))
    return torch.cat(alphas), torch.cat(betas)


def gradients(
    grad_alpha: Tensor,
    grad_beta: Tensor,
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    weight: Tensor,
    images: Tensor,
    spacing: float,
    width: float,
    exclude_self: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of positions, lattice, sigma and weight, as these are shaped."""
    num_heads, num_channels, num_basis = weight.shape
    of_positions, of_sigmas = [position[:0]], [sigma[:0]]
    of_lattice, of_weight = torch.zeros_like(lattice), torch.zeros_like(weight)
    first_pair = 0
    for crystal, atoms in crystals(ptr):
        number = all_images(images[crystal]).to(lattice)
        seen = see(position[atoms], lattice[crystal], number, sigma[atoms], exclude_self)
        basis = seen.basis(num_basis, spacing, width)
        size = atoms.stop - atoms.start
        pairs = slice(first_pair, first_pair + size * size)
        first_pair = pairs.stop
        of_beta = grad_beta[pairs].view(size, size, num_heads, num_channels)
        of_alpha = grad_alpha[pairs].view(size, size, 1, num_heads)

        mean = torch.einsum("ijmh,ijmk->ijhk", seen.share, basis)
        of_weight = of_weight + torch.einsum("ijhc,ijhk->hck", of_beta, mean)
        pull = torch.einsum("ijhc,hck->ijhk", of_beta, weight)
        value = torch.einsum("ijmk,ijhk->ijmh", basis, pull)
        mean_value = (seen.share * value).sum(2, keepdim=True)
        of_logits = seen.share * (of_alpha + value - mean_value)  # (n, n, M, H)
        # They sum to that of alpha: what the least distance adds need not cancel.
        of_squares = (of_logits * seen.above.unsqueeze(-1)).sum(2)
        of_squares = of_squares + seen.least * of_alpha.squeeze(2)
        of_sigmas.append(of_squares.sum(1) * sigma[atoms].pow(-3))

        rise = basis * (seen.centers(num_basis, spacing) - seen.distance.unsqueeze(-1)) / width**2
        slope = torch.einsum("ijmh,ijhk,ijmk->ijm", seen.share, pull, rise)
        slope = torch.where(seen.is_apart, slope / seen.root, 0)
        slope = slope - torch.einsum("ijmh,ih->ijm", of_logits, sigma[atoms].pow(-2))
        of_vector = slope.unsqueeze(-1) * seen.vector  # (n, n, M, 3)
        of_cell = torch.einsum("ma,ijmd->ad", number, of_vector)
        of_lattice = of_lattice.index_add(0, torch.full((1,), crystal).to(ptr), of_cell[None])
        of_pair = of_vector.sum(2)
        of_positions.append(of_pair.sum(0) - of_pair.sum(1))
    return torch.cat(of_positions), of_lattice, torch.cat(of_sigmas), of_weight


@dataclass(frozen=True)
class Seen:
    """What the atoms of one crystal, the queries, see of all images of each, the keys."""

    vector: Tensor  # from the query to the image, (n, n, M, 3)
    squared: Tensor  # its squared length, (n, n, M)
    least: Tensor  # of these, (n, n, 1)
    alpha: Tensor  # (n, n, H)
    share: Tensor  # of each image in the sum, (n, n, M, H)

    @property
    def above(self) -> Tensor:
        return self.squared - self.least

    @property
    def is_apart(self) -> Tensor:
        return self.squared > 0

    @property
    def root(self) -> Tensor:
        """The distance, with a finite derivative at zero, where it is one instead."""
        return torch.where(self.is_apart, self.squared, 1).sqrt()

    @property
    def distance(self) -> Tensor:
        return torch.where(self.is_apart, self.root, 0)

    def centers(self, num_basis: int, spacing: float) -> Tensor:
        return spacing * torch.arange(1, num_basis + 1).to(self.squared)  # (K,)

    def basis(self, num_basis: int, spacing: float, width: float) -> Tensor:
        """The radial functions at every distance, ``(n, n, M, K)``."""
        away = self.distance.unsqueeze(-1) - self.centers(num_basis, spacing)
        return (-0.5 * (away / width).square()).exp()


def see(
    position: Tensor, lattice: Tensor, number: Tensor, sigma: Tensor, exclude_self: bool
) -> Seen:
    """Of one crystal, its lattice ``(3, 3)``; images are ``number``, ``(M, 3)``, of cells away."""
    vector = between(position).unsqueeze(2) + number @ lattice
    squared = vector.square().sum(-1)
    itself = torch.eye(len(position), dtype=torch.bool, device=position.device)
    left_out = itself.unsqueeze(-1) & (number == 0).all(1) & exclude_self
    least = squared.detach().masked_fill(left_out, torch.inf).amin(2, keepdim=True)
    precision = sigma.unsqueeze(1).pow(-2)
    # Above that of the nearest: where sigma is narrow, logits are large, and their digits few.
    logits = -0.5 * (squared - least).unsqueeze(-1) * precision.unsqueeze(2)
    logits = logits.masked_fill(left_out.unsqueeze(-1), -torch.inf)
    alpha = logits.logsumexp(2) - 0.5 * least * precision
    return Seen(vector, squared, least, alpha, logits.softmax(2))


def crystals(ptr: Tensor) -> Iterator[tuple[int, slice]]:
    """The crystals that have atoms, and these."""
    borders = ptr.tolist()
    for crystal, (first, last) in enumerate(itertools.pairwise(borders)):
        if first < last:
            yield crystal, slice(first, last)


def all_images(limits: Tensor) -> Tensor:
    """All whole numbers of cells from minus the limits, ``(3,)``, to the limits, ``(M, 3)``."""
    ranges = (torch.arange(-limit, limit + 1, device=limits.device) for limit in limits.tolist())
    return torch.cartesian_prod(*ranges)


def between(position: Tensor) -> Tensor:
    """From each atom, the query, to each, the key: ``(n, n, 3)``."""
    return position.unsqueeze(0) - position.unsqueeze(1)
