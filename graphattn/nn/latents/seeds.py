"""Where the latents of a latent layer come from."""

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.elements import check_elements, check_sets
from graphattn.nn.latents.residual_blocks import prenorm_perceptron


class Seeds(nn.Module):
    """What gives latents to begin with, as many for each set; the base of those of one's own.

    Called with the elements, their ``Blocks`` and the latents of the step before, or None; returns
    ``(S * count, channels)``, set by set.

    Args:
        count: Latents of each set.

    Raises:
        ValueError: If ``count`` is not positive.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"count must be positive, got {count}")
        self.count = count

    def extra_repr(self) -> str:
        return f"count={self.count}"


class LearnedSeeds(Seeds):
    """The same learned latents for every set.

    Args:
        count: Latents of each set.
        channels: Their width.
        std: Of the truncated normal distribution they start from; 0 starts from zeros.

    Shapes:
        - x: the elements, which have no influence
        - blocks: the sets, ``S``
        - output: ``(S * count, channels)``, set by set

    Raises:
        ValueError: If ``count`` or ``std`` does not fit, or latents of a step before are given.

    Source: the start is that of Jaegle et al., "Perceiver", ICML 2021.
    """

    def __init__(self, count: int, channels: int, std: float = 0.02) -> None:
        super().__init__(count)
        if std < 0:
            raise ValueError(f"std must not be negative, got {std}")
        self.std = std
        self.weight = nn.Parameter(torch.empty(count, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the seeds anew."""
        if self.std:
            nn.init.trunc_normal_(self.weight, std=self.std)
        else:
            nn.init.zeros_(self.weight)

    def forward(self, x: Tensor, blocks: Blocks, previous: Tensor | None = None) -> Tensor:
        """The seeds of every set; see the class for shapes."""
        if previous is not None:
            raise ValueError("latents must be None for a layer that starts from seeds of its own")
        return self.weight.repeat(blocks.num_sets, 1)


class PooledSeeds(Seeds):
    r"""Latents that start from the mean of their set, each at its own learned distance.

    .. math::
        z_k = W \bar x + b + s_k

    Args:
        count: Latents of each set.
        channels: Width of the latents.
        in_channels: Width of the elements.

    Shapes:
        - x: ``(N, in_channels)``
        - blocks: the elements are its keys
        - output: ``(S * count, channels)``, set by set; the mean of an empty set is zero

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If latents of a step before are given, or a shape does not fit.
    """

    def __init__(self, count: int, channels: int, in_channels: int) -> None:
        super().__init__(count)
        self.lin = nn.Linear(in_channels, channels)
        self.learned = LearnedSeeds(count, channels)

    def forward(self, x: Tensor, blocks: Blocks, previous: Tensor | None = None) -> Tensor:
        """The seeds of every set; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_sources, self.lin.in_features)
        mean = self.lin(segment_reduce(x, blocks.source_ptr, "mean"))  # (S, channels)
        learned: Tensor = self.learned(x, blocks, previous)
        return learned + mean.repeat_interleave(self.count, dim=0)


class CarriedSeeds(Seeds):
    r"""Learned latents that remember those of the step before: latent self-conditioning.

    .. math::
        z_k = s_k + \mathrm{LN}\bigl(z^-_k + \mathrm{MLP}(\mathrm{LN}(z^-_k))\bigr)

    The scale and shift of the outer norm start at zero, so that at first nothing is carried over.

    Args:
        count: Latents of each set.
        channels: Their width.
        widening: Width inside the perceptron over ``channels``.

    Shapes:
        - x: the elements, which have no influence
        - blocks: the sets, ``S``
        - previous: ``(S * count, channels)``, those of the step before, zeros if None. Detach them
          where gradients must not run through steps, as in the paper.
        - output: ``(S * count, channels)``, set by set

    Raises:
        ValueError: If ``previous`` has another shape.

    Source: Jabri, Fleet and Chen, "Scalable Adaptive Computation for Iterative Generation",
        ICML 2023, as in the official code.
    """

    def __init__(self, count: int, channels: int, widening: int = 4) -> None:
        super().__init__(count)
        self.learned = LearnedSeeds(count, channels)
        self.perceptron = prenorm_perceptron(channels, widening * channels, eps=1e-6)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor, blocks: Blocks, previous: Tensor | None = None) -> Tensor:
        """The seeds of every set; see the class for shapes."""
        learned: Tensor = self.learned(x, blocks)
        if previous is None:
            previous = torch.zeros_like(learned)
        if previous.shape != learned.shape:
            expected, got = tuple(learned.shape), tuple(previous.shape)
            raise ValueError(f"latents of the step before must be {expected}, got {got}")
        return learned + self.norm(self.perceptron(previous))
