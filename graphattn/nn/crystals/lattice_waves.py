"""Terms of the value that see waves of the lattice in place of distances."""

import math

import torch
from torch import Tensor, nn

from graphattn.kernels.lattice_sum import image_range, reference
from graphattn.kernels.lattice_sum.images import reciprocal_rows
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.lattice_terms import Gaussians, Terms

_PAPER = Gaussians()


class WaveSpace(nn.Module):
    r"""As ``RealSpace``, with waves of the vector to an image where that has its distance.

    .. math::
        \beta_{ij} = \sum_n e^{-r_{ij}(n)^2 / 2 \sigma_i^2 - \alpha_{ij}}
        \sum_u w_u \sin\bigl(k_u \cdot (p_j + n L - p_i)\bigr)

    The waves :math:`k_u` are all sums of :math:`(2 t - K - 1) / 2 K` times each vector of the
    reciprocal lattice, :math:`t` from 1 to :math:`K`. Rotations leave this as it is; another choice
    of the lattice vectors does not. It is plain PyTorch, which keeps every image of every pair.

    Args:
        heads: Number of heads.
        channels: Width of the values of a head.
        num_waves: :math:`K`, of which there are the third power.
        gaussians: See ``RealSpace``.
        num_cells: Likewise.

    Shapes:
        - gamma: what each atom and head chose, ``(N, heads)``
        - output: alpha, ``(P, heads)``, and beta, ``(P, heads, channels)``

    Raises:
        ValueError: If ``num_waves`` is not positive; and see ``RealSpace``.

    Source: the official code of Taniai et al., "Crystalformer: Infinitely Connected Attention for
        Periodic Structure Encoding", ICLR 2024; the paper does not have it. The code gives the
        gradient of the weights a wrong shape, so that it cannot be trained there; here it can.
    """

    def __init__(
        self,
        heads: int,
        channels: int,
        num_waves: int = 3,
        gaussians: Gaussians = _PAPER,
        num_cells: int | None = None,
    ) -> None:
        super().__init__()
        if num_waves < 1:
            raise ValueError(f"num_waves must be positive, got {num_waves}")
        self.num_waves, self.gaussians, self.num_cells = num_waves, gaussians, num_cells
        self.weight = nn.Parameter(torch.empty(heads, channels, num_waves**3))
        nn.init.xavier_uniform_(self.weight.view(-1, num_waves**3), num_waves**-1.5)

    def forward(self, gamma: Tensor, crystals: Crystals) -> Terms:
        """Sums; see the class for shapes."""
        sigma, position = self.gaussians.sigma(gamma), crystals.position
        limits = (
            image_range(position, crystals.lattice, crystals.ptr, sigma)
            if self.num_cells is None
            else crystals.everywhere(self.num_cells)
        )
        step = 2 * torch.arange(1, self.num_waves + 1, device=position.device) - self.num_waves - 1
        every = torch.cartesian_prod(*[step.to(position) / (2 * self.num_waves)] * 3)
        waves = 2 * math.pi * every.view(-1, 3) @ reciprocal_rows(crystals.lattice)  # (S, K^3, 3)
        # Without atoms, too, the results are functions of the inputs.
        alphas = [sigma[:0]]
        betas = [torch.einsum("nh,hcu->nhc", sigma[:0], self.weight)]
        for crystal, atoms in reference.crystals(crystals.ptr):
            number = reference.all_images(limits[crystal]).to(position)
            lattice = crystals.lattice[crystal]
            seen = reference.see(position[atoms], lattice, number, sigma[atoms], False)
            wave = torch.einsum("ijmd,ud->ijmu", seen.vector, waves[crystal]).sin()
            mean = torch.einsum("ijmh,ijmu->ijhu", seen.share, wave)
            alphas.append(seen.alpha.flatten(0, 1))
            betas.append(torch.einsum("ijhu,hcu->ijhc", mean, self.weight).flatten(0, 1))
        return torch.cat(alphas), torch.cat(betas)

    def extra_repr(self) -> str:
        return f"num_waves={self.num_waves}, {self.gaussians}"
