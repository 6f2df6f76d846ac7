"""Dropout of features that does not take longer than the layers around it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.kernels.cpp.fallback import is_transformed

_STEPS = 1 << 16  # of probability
_LOWEST = -(1 << 15)  # of int16


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
    dropped = round(p * _STEPS)
    is_drawn = training and 0 < dropped < _STEPS and x.is_floating_point()
    is_special = torch.compiler.is_compiling() or is_transformed()
    if not is_drawn or is_special or x.device.type != "cpu":
        return F.dropout(x, p, training)
    drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    numbers = drawn.view(torch.int16)[: x.numel()].view(x.shape)
    keep = (numbers >= _LOWEST + dropped).to(x.dtype)
    # By what is kept, not by what was said: so the mean stays.
    return x * keep.mul_(_STEPS / (_STEPS - dropped))


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
