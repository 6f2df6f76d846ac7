"""Sums over the reciprocal lattice in Triton: a program for each pair, for all heads at once."""

# A wave and its opposite have the same cosine: half of them are summed, twice. Nothing is shared by
# programs, and what pairs share is summed in their order: the bits are the same in every run.

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphattn.kernels.lattice_sum.pairs import Pairs, box_of, combined, numbers, pair_of
from graphattn.kernels.triton.available import on_device

_WAVES = 32  # at a time
_MOST_BYTES = 32  # of what a thread sums for all heads


@triton.jit
def _enter(pair, given, NUM_HEADS: tl.constexpr, HEADS: tl.constexpr):
    """What is the same for all waves of a pair, the vector between its atoms, squares of widths."""
    query, _, crystal, vectors = pair_of(pair, given)
    box, count = box_of(crystal, given.limits, True)
    is_apart = tl.arange(0, 4)[:, None] == 3
    apart = tl.sum(tl.where(is_apart, vectors, 0), 0)[None, :]
    vectors = tl.where(is_apart, 0, vectors)
    turns = tl.sum(vectors.to(tl.float64) * apart.to(tl.float64), 1) / 6.283185307179586
    head = tl.arange(0, HEADS)
    at = given.sigma + query * NUM_HEADS + head
    sigma = tl.load(at, mask=head < NUM_HEADS, other=0)[None, :]
    return (box, count, vectors, turns), apart, sigma * sigma


@triton.jit
def _see(start, waves, square, WAVES: tl.constexpr):
    """Some waves: numbers, vectors, squared lengths, phases of half a turn at most, amplitudes."""
    box, count, vectors, turns = waves
    index = start + tl.arange(0, WAVES)
    number = numbers(index, box)
    wave = combined(number, vectors)
    squared = tl.sum(wave * wave, 1)
    # In double: the error grows with the number of turns.
    phase = tl.sum(number.to(tl.float64) * turns[None, :], 1)
    phase = (phase - tl.floor(phase + 0.5)).to(wave.dtype) * 6.283185307179586
    first = tl.sum(tl.where(tl.arange(0, 4)[None, :] == 0, number, 0), 1)
    times = tl.where(index < count, tl.where(first > 0, 2.0, 1.0), 0.0).to(wave.dtype)
    amplitude = times[:, None] * tl.exp(-0.5 * square * squared[:, None])
    return number, wave, squared, phase, amplitude


@triton.jit
def _sum_waves(given, sums, NUM_HEADS: tl.constexpr, HEADS: tl.constexpr, WAVES: tl.constexpr):
    pair = tl.program_id(0).to(tl.int64)
    waves, _apart, square = _enter(pair, given, NUM_HEADS, HEADS)
    total = tl.zeros((WAVES, HEADS), square.dtype)
    for start in range(0, waves[1], WAVES):
        _, _, _, phase, amplitude = _see(start, waves, square, WAVES)
        total += tl.cos(phase)[:, None] * amplitude
    head = tl.arange(0, HEADS)
    tl.store(sums + pair * NUM_HEADS + head, tl.sum(total, 0), mask=head < NUM_HEADS)


@triton.jit
def _pull_waves(
    given,
    grad,
    of_squares,
    pulls,
    NUM_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    WAVES: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    waves, apart, square = _enter(pair, given, NUM_HEADS, HEADS)
    head = tl.arange(0, HEADS)
    is_head = head < NUM_HEADS
    arriving = tl.load(grad + pair * NUM_HEADS + head, mask=is_head, other=0)[None, :]
    of_widths = tl.zeros((WAVES, HEADS), square.dtype)
    of_vectors = tl.zeros((WAVES, 4, 4), square.dtype)
    is_apart = tl.arange(0, 4)[None, :, None] == 3
    for start in range(0, waves[1], WAVES):
        number, wave, squared, phase, amplitude = _see(start, waves, square, WAVES)
        cosine, own = tl.cos(phase), arriving * amplitude
        of_widths += (cosine * squared)[:, None] * own
        if pulls is not None:
            of_phase = (-tl.sin(phase) * tl.sum(own, 1))[:, None]
            of_length = (cosine * tl.sum(own * square, 1))[:, None]
            of_wave = (of_phase * apart - of_length * wave)[:, None, :]
            along = tl.where(is_apart, (of_phase * wave)[:, None, :], of_wave)
            of_vectors += number.to(wave.dtype)[:, :, None] * along
    tl.store(of_squares + pair * NUM_HEADS + head, tl.sum(of_widths, 0), mask=is_head)
    if pulls is not None:
        entry = tl.arange(0, 4)[:, None] * 4 + tl.arange(0, 4)[None, :]
        tl.store(pulls + pair * 16 + entry, tl.sum(of_vectors, 0).to(tl.float64))


def _options(sigma: Tensor) -> dict[str, int]:
    """How a kernel is compiled for widths, ``(N, H)``: each thread has a wave, of a few heads."""
    heads = triton.next_power_of_2(sigma.shape[1])
    num_warps = max(1, min(heads * sigma.itemsize // _MOST_BYTES, 16))
    sizes = {"NUM_HEADS": sigma.shape[1], "HEADS": heads, "WAVES": _WAVES}
    return sizes | {"num_warps": num_warps}


def _run(kernel: Any, num_pairs: int, sigma: Tensor, *others: Any) -> None:
    if num_pairs > 0:
        with on_device(sigma.device):
            kernel[(num_pairs,)](*others, **_options(sigma))


def wave_sum(
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    num_pairs: int,
) -> Tensor:
    """See ``reference.wave_sum``."""
    pairs = Pairs.of(ptr, position.shape[0], num_pairs)
    sums = sigma.new_empty(num_pairs, sigma.shape[1])
    _run(_sum_waves, num_pairs, sigma, pairs.crystals(position, reciprocal, waves, sigma), sums)
    return sums


def wave_sum_backward(
    grad: Tensor,
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    want_geometry: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of positions, reciprocal lattice and sigma; empty ones where not wanted."""
    num_pairs = grad.shape[0]
    pairs = Pairs.of(ptr, position.shape[0], num_pairs)
    crystals = pairs.crystals(position, reciprocal, waves, sigma)
    grad = grad.contiguous()
    of_squares = torch.empty_like(grad)
    pulls = grad.new_empty(num_pairs, 4, 4, dtype=torch.float64) if want_geometry else None
    _run(_pull_waves, num_pairs, sigma, crystals, grad, of_squares, pulls)
    of_sigma = -sigma * pairs.by_query(of_squares)
    if pulls is None:
        return sigma.new_empty(0), sigma.new_empty(0), of_sigma
    of_position, of_reciprocal = (x.to(sigma.dtype) for x in pairs.gathered(pulls))
    return of_position, of_reciprocal, of_sigma
