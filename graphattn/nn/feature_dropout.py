"""Dropout that does not take longer than the layers around it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.compiled import is_transformed

_STEPS = 1 << 16  # of probability
_LOWEST = -(1 << 15)  # of int16


class DrawnDropout:
    """What dropout keeps on the CPU, four decisions from 64 bits of a generator.

    Args:
        probability: With which something is dropped, from 0 to 1; to 16 bits.
        seed: Of a generator of its own; None draws from PyTorch's.

    Attributes:
        draws: Whether there is anything to decide, and not all or nothing is kept.
        factor: By what is kept, not by what was said: so the mean stays; infinite if nothing is.
    """

    def __init__(self, probability: float, seed: int | None = None) -> None:
        self._dropped = round(probability * _STEPS)
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self.draws = 0 < self._dropped < _STEPS
        self.factor = _STEPS / (_STEPS - self._dropped) if self._dropped < _STEPS else math.inf

    def kept(self, x: Tensor) -> Tensor:
        """1 where something is kept and 0 where not, as large and of the type as ``x``."""
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
        drawn.random_(-(1 << 63), None, generator=self._generator)
        numbers = drawn.view(torch.int16)[: x.numel()].view(x.shape)
        return (numbers >= _LOWEST + self._dropped).to(x.dtype)


def drop_features(x: Tensor, p: float, training: bool = True) -> Tensor:
    """``FeatureDropout`` as a function, of features of any shape.

    Args:
        x: Features.
        p: Probability with which a feature is set to zero, from 0 to 1.
        training: Whether any is.

    Returns:
        What is left of ``x``.

    Raises:
        ValueError: If ``p`` does not lie in [0, 1].
    """
    drawn = DrawnDropout(p)
    is_drawn = training and drawn.draws and x.is_floating_point()
    is_special = torch.compiler.is_compiling() or is_transformed()
    if not is_drawn or is_special or x.device.type != "cpu":
        return F.dropout(x, p, training)
    return x * drawn.kept(x).mul_(drawn.factor)


class FeatureDropout(nn.Dropout):
    """Sets features to zero in training, and divides the others by the probability of being kept.

    On the CPU, ``torch.nn.Dropout`` draws one number of PyTorch's generator for each feature, which
    was two fifths of a training step of a graph transformer. Here 64 bits of the same generator
    decide about four features, in a quarter of the time; other devices, ``torch.compile`` and
    ``torch.func`` have PyTorch's.

    Args:
        p: Probability with which a feature is set to zero, from 0 to 1; on the CPU, to 16 bits.

    Raises:
        ValueError: If ``p`` does not lie in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def forward(self, x: Tensor) -> Tensor:
        """Drops features of any shape."""
        return drop_features(x, self.p, self.training)
