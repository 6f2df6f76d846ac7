"""Generated sets: points of mixtures of Gaussians, and numbers whose largest is to be named."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CENTRES, DEVIATION = 4.0, 0.3  # of the official code: means in [-4, 4]^D, one deviation for all


@dataclass(frozen=True)
class GaussianMixtures:
    """Sets of points, each set drawn from a mixture of its own.

    Attributes:
        points: ``(B, N, D)``, without unit.
        component: From which component each point is, ``(B, N)`` int64.
        log_weight: Logarithm of the part that each component has, ``(B, K)``.
        mean: Where its points lie on average, ``(B, K, D)``.
        deviation: Standard deviation in every direction, ``(B, K, 1)``.
    """

    points: Tensor
    component: Tensor
    log_weight: Tensor
    mean: Tensor
    deviation: Tensor

    def log_likelihood(self) -> Tensor:
        """Of each point under the mixture it was drawn from, ``(B, N)``: the oracle."""
        return mixture_log_likelihood(self.points, self.log_weight, self.mean, self.deviation)


@dataclass(frozen=True)
class NumberSets:
    """Sets of numbers, set after set.

    Attributes:
        numbers: ``(N, 1)``, without unit.
        ptr: Borders of the sets, ``(S + 1,)`` int64; none is empty.
        largest: The largest number of each set, ``(S, 1)``.
    """

    numbers: Tensor
    ptr: Tensor
    largest: Tensor


class DrawnBatches:
    """Batches that are drawn when they are asked for, as a loader of them.

    Args:
        draw: Makes a batch with a generator of random numbers, or from PyTorch's own with None.
        count: Number of batches in one pass.
        seed: Gives every pass the same batches. Without it each pass draws new ones, from PyTorch's
            own random numbers: a checkpoint carries those, so that a run that is resumed sees what
            an unbroken one would have seen.
    """

    def __init__(
        self,
        draw: Callable[[torch.Generator | None], tuple[Tensor, ...]],
        count: int,
        seed: int | None = None,
    ) -> None:
        self.draw, self.count, self.seed = draw, count, seed

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        for _ in range(self.count):
            yield self.draw(generator)

    def __len__(self) -> int:
        return self.count


def gaussian_mixtures(
    num_sets: int,
    num_points: int,
    *,
    num_components: int = 4,
    dim: int = 2,
    generator: torch.Generator | None = None,
) -> GaussianMixtures:
    """Draw mixtures, and from each a set of points.

    The parts of the components are drawn evenly from all that sum to one, their means evenly from
    ``[-4, 4]`` in every direction; all have the deviation 0.3.

    Args:
        num_sets: ``B``; none gives empty tensors.
        num_points: ``N``, of every set; likewise.
        num_components: ``K``.
        dim: ``D``.
        generator: Where random numbers come from; without it, from PyTorch's own.

    Returns:
        The sets and what they were drawn from, float32.

    Raises:
        ValueError: If a number is negative, or ``num_components`` or ``dim`` is zero.

    Source: the authors' code of Lee et al., "Set Transformer", ICML 2019 (amortized clustering).
    """
    if min(num_sets, num_points) < 0 or min(num_components, dim) < 1:
        raise ValueError(
            "num_sets and num_points must be at least 0, num_components and dim at least 1, got"
            f" {num_sets}, {num_points}, {num_components}, {dim}"
        )
    # Waiting times over their sum are a draw from the flat Dirichlet distribution.
    times = torch.empty(num_sets, num_components).exponential_(generator=generator)
    log_weight = times.log().log_softmax(dim=1)
    shape = (num_sets, num_components, dim)
    mean = CENTRES * (2 * torch.rand(shape, generator=generator) - 1)
    deviation = torch.full((num_sets, num_components, 1), DEVIATION)
    if num_sets and num_points:
        weight = log_weight.exp()
        component = torch.multinomial(weight, num_points, replacement=True, generator=generator)
    else:
        component = torch.empty(num_sets, num_points, dtype=torch.int64)
    noise = torch.randn(num_sets, num_points, dim, generator=generator)
    points = mean.gather(1, component[..., None].expand(-1, -1, dim)) + DEVIATION * noise
    return GaussianMixtures(points, component, log_weight, mean, deviation)


def mixture_log_likelihood(
    points: Tensor, log_weight: Tensor, mean: Tensor, deviation: Tensor
) -> Tensor:
    r"""Log-likelihood of each point under the mixture of its set.

    .. math::
        \log \textstyle\sum_k \pi_k \, \mathcal N(x; \mu_k, \operatorname{diag} \sigma_k^2)

    Args:
        points: ``(B, N, D)``.
        log_weight: ``(B, K)``.
        mean: ``(B, K, D)``.
        deviation: ``(B, K, D)``, or ``(B, K, 1)`` for one in all directions; positive.

    Returns:
        ``(B, N)``, in nats.

    Raises:
        ValueError: If the shapes do not fit.
    """
    shape, dims = mean.shape, {1, mean.shape[-1]}
    if (
        points.ndim != 3
        or mean.ndim != 3
        or (len(points), points.shape[-1]) != (len(mean), shape[-1])
        or log_weight.shape != shape[:-1]
        or deviation.shape[:-1] != shape[:-1]
        or deviation.shape[-1] not in dims
    ):
        shapes = ", ".join(str(tuple(x.shape)) for x in (points, log_weight, mean, deviation))
        raise ValueError(
            "points, log_weight, mean and deviation must be (B, N, D), (B, K), (B, K, D) and"
            f" (B, K, D) or (B, K, 1), got {shapes}"
        )
    distance = (points.unsqueeze(2) - mean.unsqueeze(1)) / deviation.unsqueeze(1)  # (B, N, K, D)
    scale = deviation.log().expand_as(mean).sum(-1) + 0.5 * shape[-1] * math.log(2 * math.pi)
    logs = log_weight - scale  # (B, K)
    return (logs.unsqueeze(1) - 0.5 * distance.square().sum(-1)).logsumexp(-1)


def number_sets(
    num_sets: int,
    *,
    max_size: int = 10,
    highest: float = 100.0,
    generator: torch.Generator | None = None,
) -> NumberSets:
    """Draw sets of numbers, and name the largest of each.

    Args:
        num_sets: ``S``; none gives empty tensors.
        max_size: Sets have from 1 to so many numbers, each size as likely.
        highest: Numbers are drawn evenly from 0 to this.
        generator: Where random numbers come from; without it, from PyTorch's own.

    Returns:
        The sets, float32.

    Raises:
        ValueError: If ``num_sets`` is negative or ``max_size`` is under 1.

    Source: after Lee et al., "Set Transformer", ICML 2019, section 5.1. The notebook in the
        authors' code draws whole numbers from 1 to 99, and one size for all sets of a batch.
    """
    if num_sets < 0 or max_size < 1:
        raise ValueError(
            f"num_sets must be at least 0 and max_size at least 1, got {num_sets}, {max_size}"
        )
    sizes = torch.randint(1, max_size + 1, (num_sets,), generator=generator)
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    numbers = highest * torch.rand(int(ptr[-1]), generator=generator)
    owner = torch.arange(num_sets).repeat_interleave(sizes)
    largest = numbers.new_zeros(num_sets).scatter_reduce(0, owner, numbers, "amax")
    return NumberSets(numbers.unsqueeze(1), ptr, largest.unsqueeze(1))
