r"""How wide the Gaussians of an atom are: a number that atoms choose, and maps to what is positive.

An atom :math:`i` and a head give :math:`\gamma`; a positive map gives :math:`\rho(\gamma)`, about
one where :math:`\gamma` is zero; the width is :math:`\sigma = r_0 \rho^{-1/2}`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ROUNDING = 1e-10  # of the variance, in squares of the mean


@dataclass(frozen=True)
class PositiveMap:
    """From any number to one above a bound; one that is close to one for a number close to zero.

    Attributes:
        least: The bound, between 0 and 1.
        slope: How fast the map rises at zero, positive.
    """

    least: float = 0.5
    slope: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.least < 1 or not 0 < self.slope < math.inf:
            raise ValueError(
                "least must lie between 0 and 1 and slope must be positive, got"
                f" {self.least} and {self.slope}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must override __call__(x)")


class PositiveELU(PositiveMap):
    r"""Linear above zero: :math:`(1 - b) \operatorname{ELU}(s x / (1 - b)) + 1`."""

    def __call__(self, x: Tensor) -> Tensor:
        rest = 1 - self.least
        return rest * F.elu(x * (self.slope / rest)) + 1


class PositiveExponential(PositiveMap):
    r"""The exponential: :math:`(1 - b) \exp(s x / (1 - b)) + b`."""

    def __call__(self, x: Tensor) -> Tensor:
        rest = 1 - self.least
        return rest * (x * (self.slope / rest)).exp() + self.least


class PositiveSoftplus(PositiveMap):
    r"""Softplus with this slope far above zero: :math:`\log(1 + \exp(s x + c)) / s + b`.

    The shift :math:`c = \log(\exp(s (1 - b)) - 1)` makes it one at zero.
    """

    def __call__(self, x: Tensor) -> Tensor:
        shift = math.log(math.expm1(self.slope * (1 - self.least))) / self.slope
        return F.softplus(x + shift, beta=self.slope) + self.least


class PositiveSigmoid(PositiveMap):
    r"""Bounded above as well: :math:`(1 / b - b) \sigma(s x (1 + b) / (1 - b) + \log b) + b`."""

    def __call__(self, x: Tensor) -> Tensor:
        bound = self.least
        steepness = self.slope * (1 + bound) / (1 - bound)
        return (1 / bound - bound) * torch.sigmoid(x * steepness + math.log(bound)) + bound


class PositiveAbsolute(PositiveMap):
    r"""Least at zero and steepest, whatever the slope: :math:`(1 - b) \lvert x \rvert + b`."""

    def __call__(self, x: Tensor) -> Tensor:
        return (1 - self.least) * x.abs() + self.least


class QueryWidth(nn.Module):
    r"""Each head's query along a learned direction: :math:`\gamma_{ih} = q_{ih} \cdot w_h`.

    Args:
        heads: Number of heads.
        channels: Width of the queries of a head.

    Shapes:
        - x: features of the atoms, which are not read
        - query: ``(N, heads, channels)``
        - output: ``(N, heads)``
    """

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, channels))
        nn.init.normal_(self.weight, std=channels**-0.5)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """Chooses; see the class for shapes."""
        return (query * self.weight).sum(-1)


class AtomWidth(nn.Module):
    r"""A linear map of the atom itself: :math:`\gamma_{ih} = x_i \cdot w_h`.

    Args:
        channels: Width of the atoms.
        heads: Number of heads.

    Shapes:
        - x: ``(N, channels)``
        - query: not read
        - output: ``(N, heads)``
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.lin = nn.Linear(channels, heads, bias=False)
        nn.init.normal_(self.lin.weight, std=channels**-0.5)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """Chooses; see the class for shapes."""
        gamma: Tensor = self.lin(x)
        return gamma


class MappedAtomWidth(nn.Module):
    r"""As ``QueryWidth``, of a map of the atom in the query's place: it has no other use.

    Args:
        channels: Width of the atoms.
        heads: Number of heads; divides ``channels``.

    Shapes: see ``AtomWidth``
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.lin = nn.Linear(channels, channels, bias=False)
        nn.init.xavier_uniform_(self.lin.weight)
        self.direction = QueryWidth(heads, channels // heads)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """Chooses; see the class for shapes."""
        mapped = self.lin(x).unflatten(1, self.direction.weight.shape)
        gamma: Tensor = self.direction(x, mapped)
        return gamma


class HeadWidth(nn.Module):
    """One number for each head, the same for all atoms.

    Args:
        heads: Number of heads.

    Shapes: see ``QueryWidth``
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(heads))

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """Chooses; see the class for shapes."""
        return self.gamma.expand(len(x), -1)


class FirstBatchStandardized(nn.Module):
    r"""What another width chooses, shifted and scaled as the first batch of training needs it.

    Over all atoms and heads of that batch the mean is then zero and the deviation one. Shift and
    scale are kept with the weights and stay as they are. Until then, each batch is standardized by
    itself, so that its crystals see one another. A batch without two different numbers is left as
    it is.

    Args:
        width: Such as ``QueryWidth``.

    Shapes: see ``QueryWidth``

    Attributes:
        scale: Zero until the first batch of training.
        shift: Likewise.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, width: nn.Module) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("scale", torch.zeros(()))
        self.register_buffer("shift", torch.zeros(()))

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """Chooses; see the class for shapes."""
        gamma: Tensor = self.width(x, query)
        scale, shift = self._of_batch(gamma.detach())
        # All of it without a look at the values, which would wait for the device.
        is_known, is_usable = self.scale > 0, scale.isfinite()
        scale = torch.where(is_known, self.scale, scale.where(is_usable, 0))
        shift = torch.where(is_known, self.shift, shift.where(is_usable, 0))
        if self.training:
            self.scale.copy_(scale)
            self.shift.copy_(shift)
        return (gamma + shift) * scale.where(scale > 0, 1)

    def _of_batch(self, gamma: Tensor) -> tuple[Tensor, Tensor]:
        gamma, count = gamma.to(self.scale.dtype), gamma.numel()
        mean = gamma.sum() / max(count, 1)
        variance = (gamma - mean).square().sum() / max(count - 1, 1)
        # Numbers that are equal but for their rounding count as equal: the scale is then infinite.
        variance = variance.where(variance > _ROUNDING * mean.square(), 0)
        return variance.rsqrt(), -mean
