"""Sums over the reciprocal lattice in plain PyTorch: crystal by crystal, every wave by itself."""

import torch
from torch import Tensor

from graphattn.kernels.lattice_sum.reference import all_images, between, crystals


def wave_sum(
    position: Tensor, reciprocal: Tensor, ptr: Tensor, sigma: Tensor, waves: Tensor
) -> Tensor:
    """The sum of Gaussians times cosines, ``(P, H)``; see ``op.reciprocal_log_sum``.

    Args:
        position: ``(N, 3)``.
        reciprocal: Vectors of the reciprocal lattice as rows, with factor 2π, ``(S, 3, 3)``.
        ptr: ``(S + 1,)``.
        sigma: ``(N, H)``.
        waves: ``(S, 3)``.
    """
    sums = [sigma[:0]]  # without atoms, too, a function of the inputs
    for crystal, atoms in crystals(ptr):
        wave = all_images(waves[crystal]).to(reciprocal) @ reciprocal[crystal]  # (M, 3)
        phase = between(position[atoms]) @ wave.T  # (n, n, M)
        total = torch.einsum("ijm,imh->ijh", phase.cos(), amplitudes(wave, sigma[atoms]))
        sums.append(total.flatten(0, 1))
    return torch.cat(sums)


def gradients(
    grad: Tensor, position: Tensor, reciprocal: Tensor, ptr: Tensor, sigma: Tensor, waves: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of positions, reciprocal lattice and sigma, as these are shaped."""
    of_positions, of_sigmas = [position[:0]], [sigma[:0]]
    of_reciprocal = torch.zeros_like(reciprocal)
    first_pair = 0
    for crystal, atoms in crystals(ptr):
        number = all_images(waves[crystal]).to(reciprocal)
        wave, apart = number @ reciprocal[crystal], between(position[atoms])
        phase, own = apart @ wave.T, sigma[atoms]
        amplitude = amplitudes(wave, own)
        size = atoms.stop - atoms.start
        pairs = slice(first_pair, first_pair + size * size)
        first_pair = pairs.stop
        arriving = grad[pairs].view(size, size, -1)

        of_exponent = torch.einsum("ijm,ijh->imh", phase.cos(), arriving) * amplitude
        of_sigmas.append(-own * torch.einsum("imh,md->ihd", of_exponent, wave.square()).sum(-1))
        of_phase = -phase.sin() * torch.einsum("ijh,imh->ijm", arriving, amplitude)
        of_wave = torch.einsum("ijm,ijd->md", of_phase, apart)
        of_wave = of_wave - wave * torch.einsum("imh,ih->m", of_exponent, own.square())[:, None]
        of_cell = number.T @ of_wave
        of_reciprocal = of_reciprocal.index_add(0, torch.full((1,), crystal).to(ptr), of_cell[None])
        of_pair = of_phase @ wave
        of_positions.append(of_pair.sum(0) - of_pair.sum(1))
    return torch.cat(of_positions), of_reciprocal, torch.cat(of_sigmas)


def amplitudes(wave: Tensor, sigma: Tensor) -> Tensor:
    """Of each wave, ``(M, 3)``, for each query and head: ``(n, M, H)``."""
    exponent = wave.square().sum(1).unsqueeze(1) * sigma.unsqueeze(1).square()
    return (-0.5 * exponent).exp()
