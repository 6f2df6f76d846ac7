"""Positions as sines and cosines of many frequencies."""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor


def fourier_features(
    position: Tensor, num_bands: int, max_frequency: float | Sequence[float]
) -> Tensor:
    r"""Positions, and their sines and cosines of evenly spaced frequencies: those of Perceiver.

    .. math::
        [\,x_d,\; \sin(\pi f_k x_d),\; \cos(\pi f_k x_d)\,], \qquad
        f_k \text{ evenly from } 1 \text{ to } \mu_d / 2

    Args:
        position: ``(..., D)``, in units in which the data span -1 to 1, floating point.
        num_bands: Number of frequencies.
        max_frequency: μ, twice the highest frequency, for all axes or for each: the number of
            samples along an axis, if they are on a grid.

    Returns:
        ``(..., D * (2 * num_bands + 1))``: positions, all sines axis by axis, all cosines.

    Raises:
        TypeError: If ``position`` is not floating point.
        ValueError: If ``num_bands`` is negative, or there is not one ``max_frequency`` an axis.

    Source: Jaegle et al., "Perceiver: General Perception with Iterative Attention", ICML 2021; the
        order is that of the official code.
    """
    _check_position(position)
    if num_bands < 0:
        raise ValueError(f"num_bands must not be negative, got {num_bands}")
    num_axes = position.shape[-1]
    limits = max_frequency if isinstance(max_frequency, Sequence) else [max_frequency] * num_axes
    if len(limits) != num_axes:
        raise ValueError(f"max_frequency must be one for each of {num_axes} axes, got {limits}")
    highest = position.new_tensor(limits).unsqueeze(-1) / 2  # (D, 1)
    share = torch.linspace(0, 1, num_bands, dtype=position.dtype, device=position.device)
    frequencies = 1 + (highest - 1) * share  # (D, num_bands)
    angles = (pi * position.unsqueeze(-1) * frequencies).flatten(-2)  # (..., D * num_bands)
    return torch.cat([position, angles.sin(), angles.cos()], dim=-1)


def octave_features(position: Tensor, channels: int) -> Tensor:
    r"""Sines and cosines of positions, each frequency twice the one before: those of NeRF.

    .. math::
        [\,\sin(2^k x_d),\; \cos(2^k x_d)\,], \qquad k = 0, \ldots, \lfloor C / 2D \rfloor - 1

    Args:
        position: ``(..., D)``, floating point.
        channels: ``C``, the width of the result.

    Returns:
        ``(..., channels)``: frequency by frequency, axis by axis, sine before cosine; what is left
        of the width is zero.

    Raises:
        TypeError: If ``position`` is not floating point.
        ValueError: If ``position`` has no axes, or ``channels`` is negative.

    Source: Mildenhall et al., "NeRF", ECCV 2020, without π and as in the official code of LUNA
        (NeurIPS 2025).
    """
    _check_position(position)
    num_axes = position.shape[-1]
    if num_axes == 0 or channels < 0:
        raise ValueError(f"there must be axes and channels, got {num_axes} and {channels}")
    octaves = torch.arange(channels // (2 * num_axes), device=position.device)
    angles = position.unsqueeze(-2) * (2.0**octaves).to(position.dtype).unsqueeze(-1)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-3)  # (..., octaves * D * 2)
    return torch.nn.functional.pad(waves, (0, channels - waves.shape[-1]))


def _check_position(position: Tensor) -> None:
    if not isinstance(position, Tensor) or not position.is_floating_point():
        got = position.dtype if isinstance(position, Tensor) else type(position).__name__
        raise TypeError(f"position must be a floating-point tensor, got {got}")
    if position.ndim == 0:
        raise ValueError("position must be (..., D), got ()")
