"""What all images of an atom bring to attention: a term of the logit, and one of the value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphattn.kernels.lattice_sum import lattice_log_sum, lattice_sum
from graphattn.kernels.reciprocal_sum import reciprocal_log_sum
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.gaussian_widths import PositiveELU, PositiveMap

_PAPER_MAP = PositiveELU()

Terms = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Gaussians:
    r"""Gaussians of which each atom and head choose the width: :math:`\sigma = r_0 \rho^p`.

    Attributes:
        scale: :math:`r_0`, the width where nothing is chosen, in Å.
        power: :math:`p`.
        positive: What makes :math:`\rho` of what is chosen.
    """

    scale: float = 1.4
    power: float = -0.5
    positive: PositiveMap = _PAPER_MAP

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale must be a positive length, got {self.scale}")

    def sigma(self, gamma: Tensor) -> Tensor:
        """Widths, ``(N, H)``, in Å, from what was chosen, ``(N, H)``."""
        return self.scale * self.positive(gamma) ** self.power


@dataclass(frozen=True)
class RadialFunctions:
    r"""Gaussians of the distance, at equal steps: :math:`\exp(-(r - k m / K)^2 / 2 u^2)`.

    Attributes:
        count: :math:`K`, how many there are; ``k`` runs from 1 to it.
        farthest: :math:`m`, the centre of the last one, in Å.
        width_scale: :math:`u K / m`, their width in steps.
        is_shared: Whether all heads map them by one matrix.
    """

    count: int = 64
    farthest: float = 14.0
    width_scale: float = 1.0
    is_shared: bool = False

    def __post_init__(self) -> None:
        if self.count < 1 or not (self.farthest > 0 and self.width_scale > 0):
            raise ValueError(f"count, farthest and width_scale must be positive, got {self}")

    @property
    def spacing(self) -> float:
        """From one centre to the next, in Å."""
        return self.farthest / self.count


class RealSpace(nn.Module):
    r"""Sums over all images of an atom, each weighted by a Gaussian of its distance.

    .. math::
        \alpha_{ij} = \log \sum_n e^{-r_{ij}(n)^2 / 2 \sigma_i^2}, \qquad
        \beta_{ij} = \sum_n e^{-r_{ij}(n)^2 / 2 \sigma_i^2 - \alpha_{ij}}
        \sum_k w_k b_k(r_{ij}(n))

    Args:
        heads: Number of heads.
        channels: Width of the values of a head.
        radial: The functions :math:`b_k` of the distance; without them, as in the simplified model,
            there is no :math:`\beta`.
        gaussians: How a width is made of what was chosen.
        num_cells: Sums over images up to so many cells away, as the official code does outside of
            CUDA; without it, what is left out is less than a millionth.
        exclude_self: Whether the image of an atom in its own place is left out.

    Shapes:
        - gamma: what each atom and head chose, ``(N, heads)``
        - output: alpha, ``(P, heads)``, and beta, ``(P, heads, channels)``, or None

    Raises:
        ValueError: In ``forward``, if a crystal has no volume or too many images; names it.

    Source: Taniai et al., "Crystalformer: Infinitely Connected Attention for Periodic Structure
        Encoding", ICLR 2024. The official gradient of the positions leaves out that the radial
        functions depend on the distance; this one does not.
    """

    def __init__(
        self,
        heads: int,
        channels: int,
        radial: RadialFunctions | None = RadialFunctions(),
        gaussians: Gaussians = Gaussians(),
        num_cells: int | None = None,
        exclude_self: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.radial, self.gaussians = heads, radial, gaussians
        self.num_cells, self.exclude_self = num_cells, exclude_self
        self.weight: nn.Parameter | None = None
        if radial is not None:
            rows = 1 if radial.is_shared else heads
            self.weight = nn.Parameter(torch.empty(rows, channels, radial.count))
            nn.init.xavier_uniform_(self.weight.view(-1, radial.count), radial.count**-0.5)

    def forward(self, gamma: Tensor, crystals: Crystals) -> Terms:
        """Sums; see the class for shapes."""
        where = (crystals.position, crystals.lattice, crystals.ptr)
        sigma = self.gaussians.sigma(gamma)
        limits = None if self.num_cells is None else crystals.everywhere(self.num_cells)
        images: dict[str, Any] = {
            "images": limits,
            "exclude_self": self.exclude_self,
            "num_pairs": crystals.num_pairs,
        }
        if self.radial is None or self.weight is None:
            return lattice_log_sum(*where, sigma, **images), None
        spacing = self.radial.spacing
        width = spacing * self.radial.width_scale
        weight = self.weight.expand(self.heads, -1, -1)
        return lattice_sum(*where, sigma, weight, spacing=spacing, width=width, **images)

    def extra_repr(self) -> str:
        return f"{self.radial}, {self.gaussians}"


class ReciprocalSpace(nn.Module):
    r"""The same sums of Gaussians as sums over waves, for widths of which a few suffice.

    .. math::
        \alpha_{ij} = \log \Bigl(\frac{(2 \pi \sigma_i^2)^{3/2}}{V}
        \sum_k e^{-\sigma_i^2 \lVert k \rVert^2 / 2} \cos\bigl(k \cdot (p_j - p_i)\bigr)\Bigr)

    Args:
        gaussians: How a width is made of what was chosen: here a wider one, if more is chosen.
        num_waves: Sums over waves up to so many of each reciprocal vector; without it, what is left
            out is less than a millionth.

    Shapes:
        - gamma: what each atom and head chose, ``(N, heads)``
        - output: alpha, ``(P, heads)``, and None: there is no term of the value

    Raises:
        ValueError: In ``forward``, if a crystal has no volume or too many waves; names it.

    Source: see ``RealSpace``; the domain ``"reci"`` of the official code, which gives NaN for
        left-handed cells, and ``"RECI"`` with ``Gaussians(2.2, power=-0.5)``.
    """

    def __init__(
        self,
        gaussians: Gaussians = Gaussians(scale=2.2, power=0.5),
        num_waves: int | None = None,
    ) -> None:
        super().__init__()
        self.gaussians, self.num_waves = gaussians, num_waves

    def forward(self, gamma: Tensor, crystals: Crystals) -> Terms:
        """Sums; see the class for shapes."""
        where = (crystals.position, crystals.lattice, crystals.ptr)
        waves = None if self.num_waves is None else crystals.everywhere(self.num_waves)
        sigma = self.gaussians.sigma(gamma)
        return reciprocal_log_sum(*where, sigma, waves=waves, num_pairs=crystals.num_pairs), None

    def extra_repr(self) -> str:
        return f"{self.gaussians}"


class HeadGroups(nn.Module):
    """Terms of several kinds side by side, each for an equal share of the heads, in order.

    Args:
        parts: Such as a ``RealSpace`` and a ``ReciprocalSpace``, each of its share of the heads.

    Shapes:
        - gamma: what each atom and head chose, ``(N, heads)``
        - output: alpha, ``(P, heads)``, and beta, ``(P, heads, channels)``, which is zero for a
          part that has none, or None if none has

    Raises:
        ValueError: If there are no parts; in ``forward``, if their number does not divide the
            heads.
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        if not parts:
            raise ValueError("parts must hold at least one module, got none")
        self.parts = nn.ModuleList(parts)

    def forward(self, gamma: Tensor, crystals: Crystals) -> Terms:
        """Sums; see the class for shapes."""
        if gamma.shape[1] % len(self.parts):
            raise ValueError(
                f"gamma must have a multiple of {len(self.parts)} heads, got {tuple(gamma.shape)}"
            )
        chunks = gamma.chunk(len(self.parts), dim=1)
        terms = [part(own, crystals) for part, own in zip(self.parts, chunks, strict=True)]
        alpha = torch.cat([alpha for alpha, _ in terms], dim=1)
        there = [beta for _, beta in terms if beta is not None]
        if not there:
            return alpha, None
        rows = torch.cat(
            [
                there[0].new_zeros(*own.shape, there[0].shape[2]) if beta is None else beta
                for own, beta in terms
            ],
            dim=1,
        )
        return alpha, rows
