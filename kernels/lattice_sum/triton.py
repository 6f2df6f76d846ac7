"""Lattice sums in Triton: a program walks the images of a pair, for all heads at once."""

# It looks for the nearest image first; those too far beyond it to count are passed over, a tile at
# a time. Sums of radial functions are products of matrices: heads by images times images by
# functions. What is left is a product over pairs, of these sums by the weights, which is PyTorch's,
# for a bounded number of pairs at a time. No program reads what another one of its launch writes,
# and what pairs share is summed in their order, so the bits are the same in every run.

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphattn.kernels.lattice_sum.checks import exactly
from graphattn.kernels.lattice_sum.pairs import Pairs, box_of, combined, numbers, pair_of
from graphattn.kernels.lattice_sum.tiles import Radial, Tile
from graphattn.kernels.triton.available import on_device

_MOST_SUMS = 2**22  # of radial functions, over all heads and pairs, that are kept at once


@triton.jit
def _see(start, pair, IMAGES: tl.constexpr):
    """Some images: how many cells away, which way and how far, and which of them there are."""
    box, count, left_out, vectors = pair
    index = start + tl.arange(0, IMAGES)
    number = numbers(index, box)
    vector = combined(number, vectors)
    return number, vector, tl.sum(vector * vector, 1), (index < count) & (index != left_out)


@triton.jit
def _nearest(pair, TILE: tl.constexpr):
    images: tl.constexpr = 4 * TILE.images  # there is little to be held of each
    nearest = tl.full((images,), float("inf"), pair[3].dtype)
    for start in range(0, pair[1], images):
        _, _, squared, is_there = _see(start, pair, images)
        nearest = tl.where(is_there & (squared < nearest), squared, nearest)
    return tl.min(nearest, 0)


@triton.jit
def _enter(row, given, EXCLUDE_SELF: tl.constexpr, TILE: tl.constexpr):
    """What is the same for all images of a pair; the nearest, those that count, the precision."""
    query, key, crystal, vectors = pair_of(row, given)
    box, count = box_of(crystal, given.limits, False)
    left_out = tl.where(EXCLUDE_SELF & (query == key), count // 2, -1)
    pair = (box, count, left_out, vectors)
    head = tl.arange(0, TILE.heads)
    is_head = head < TILE.num_heads
    sigma = tl.load(given.sigma + query * TILE.num_heads + head, mask=is_head, other=0)
    widest = tl.max(tl.where(sigma == sigma, sigma, 0), 0)
    sigma = tl.where(is_head, sigma, 1)
    precision = (1 / (sigma * sigma))[None, :]
    return pair, _nearest(pair, TILE), 2 * TILE.least_log * widest * widest, precision


@triton.jit
def _counts(above, is_there, beyond):
    """Whether one of some images can be seen in the widest head's sum; NaN can."""
    return tl.max((is_there & ((above > beyond) == 0)).to(tl.int32), 0) > 0


@triton.jit
def _gaussians(above, is_there, precision):
    return tl.where(is_there[:, None], tl.exp(-0.5 * precision * above[:, None]), 0)


@triton.jit
def _totals(pair, least, beyond, precision, TILE: tl.constexpr):
    total = tl.zeros((TILE.images, TILE.heads), least.dtype)
    for start in range(0, pair[1], TILE.images):
        _, _, squared, is_there = _see(start, pair, TILE.images)
        if _counts(squared - least, is_there, beyond):
            total += _gaussians(squared - least, is_there, precision)
    return tl.sum(total, 0)


@triton.jit
def _basis(squared, function, radial, TILE: tl.constexpr):
    """Radial functions at some distances, and the slopes of their logarithms."""
    center = tl.load(radial.center + function, mask=function < TILE.num_basis, other=0)
    inverse = 1 / tl.load(radial.width)
    away = (center[None, :] - tl.sqrt(squared)[:, None]) * inverse
    return tl.exp(-0.5 * away * away), away * inverse


@triton.jit(do_not_specialize=["first", "count"])
def _sum_images(
    given, radial, first, count, alpha, mean, EXCLUDE_SELF: tl.constexpr, TILE: tl.constexpr
):
    local = tl.program_id(0).to(tl.int64)
    row = first + local
    pair, least, beyond, precision = _enter(row, given, EXCLUDE_SELF, TILE)
    function = tl.program_id(1) * TILE.basis + tl.arange(0, TILE.basis)
    total = tl.zeros((TILE.images, TILE.heads), least.dtype)
    sums = tl.zeros((TILE.heads, TILE.basis), least.dtype)
    for start in range(0, pair[1], TILE.images):
        _, _, squared, is_there = _see(start, pair, TILE.images)
        if _counts(squared - least, is_there, beyond):
            own = _gaussians(squared - least, is_there, precision)
            total += own
            if mean is not None:
                basis = _basis(squared, function, radial, TILE)[0]
                sums = tl.dot(tl.trans(own), basis, sums, input_precision="ieee")
    whole = tl.sum(total, 0)
    head = tl.arange(0, TILE.heads)
    is_head = head < TILE.num_heads
    if alpha is not None:  # which all programs of a pair find the same
        log = tl.log(whole) - 0.5 * tl.sum(precision, 0) * least
        tl.store(alpha + row * TILE.num_heads + head, log, mask=is_head)
    if mean is not None:
        at = (head[:, None] * count + local) * TILE.num_basis + function[None, :]
        mask = is_head[:, None] & (function < TILE.num_basis)[None, :]
        tl.store(mean + at, sums / whole[:, None], mask=mask)


@triton.jit(do_not_specialize=["first", "count"])
def _pull_images(
    given,
    radial,
    first,
    count,
    of_alpha,
    centred,
    pull,
    of_precision,
    pulls,
    EXCLUDE_SELF: tl.constexpr,
    TILE: tl.constexpr,
):
    local = tl.program_id(0).to(tl.int64)
    pair, least, beyond, precision = _enter(first + local, given, EXCLUDE_SELF, TILE)
    # Alpha, which grows with the distance over sigma, has too few digits left for this.
    total = _totals(pair, least, beyond, precision, TILE)[None, :]
    head = tl.arange(0, TILE.heads)
    is_head = head < TILE.num_heads
    row = (first + local) * TILE.num_heads + head
    constant = tl.load(centred + row, mask=is_head, other=0)[None, :]
    of_squares = tl.zeros((TILE.images, TILE.heads), least.dtype)
    of_vectors = tl.zeros((TILE.images, 4, 4), least.dtype)
    for start in range(0, pair[1], TILE.images):
        number, vector, squared, is_there = _see(start, pair, TILE.images)
        above = squared - least
        if _counts(above, is_there, beyond):
            share = _gaussians(above, is_there, precision) / total
            value = tl.zeros((TILE.images, TILE.heads), least.dtype)
            slope = tl.zeros((TILE.images, TILE.heads), least.dtype)
            for begin in range(0, TILE.num_basis, TILE.pulled):
                function = begin + tl.arange(0, TILE.pulled)
                at = (head[None, :] * count + local) * TILE.num_basis + function[:, None]
                mask = is_head[None, :] & (function < TILE.num_basis)[:, None]
                own = tl.load(pull + at, mask=mask, other=0)
                basis, rise = _basis(squared, function, radial, TILE)
                value = tl.dot(basis, own, value, input_precision="ieee")
                if pulls is not None:
                    slope = tl.dot(basis * rise, own, slope, input_precision="ieee")
            of_logit = share * (constant + value)
            of_squares += of_logit * above[:, None]
            if pulls is not None:
                along = tl.sum(share * slope, 1) / tl.sqrt(squared)
                # At distance zero there is no direction.
                along = tl.where(squared == 0, 0, along) - tl.sum(of_logit * precision, 1)
                column = number.to(least.dtype)[:, :, None]
                of_vectors += along[:, None, None] * column * vector[:, None, :]
    # The gradients of the logits of all images sum to that of alpha.
    own = tl.sum(of_squares, 0) + least * tl.load(of_alpha + row, mask=is_head, other=0)
    tl.store(of_precision + row, own, mask=is_head)
    if pulls is not None:
        entry = tl.arange(0, 4)[:, None] * 4 + tl.arange(0, 4)[None, :]
        at = pulls + (first + local) * 16 + entry
        tl.store(at, tl.sum(of_vectors, 0).to(tl.float64))


class _Walk:
    """Walks over the images of all pairs, so many at a time: what kernels read, how they run."""

    def __init__(
        self,
        tensors: tuple[Tensor, ...],
        num_pairs: int,
        spacing: float,
        width: float,
        exclude_self: bool,
    ) -> None:
        position, lattice, ptr, sigma, weight, images = tensors
        num_heads, _, num_basis = weight.shape
        self.num_pairs, self.weight, self.exclude_self = num_pairs, weight, exclude_self
        self.pairs = Pairs.of(ptr, position.shape[0], num_pairs)
        self.crystals = self.pairs.crystals(position, lattice, images, sigma)
        self.radial = Radial.of(sigma, num_basis, spacing, width)
        self.tile = Tile.of(sigma.dtype, num_heads, num_basis)

    def parts(self) -> Iterator[slice]:
        """All pairs, of so many at a time as there is room for what is kept of them."""
        most = max(1, _MOST_SUMS // max(1, self.tile.num_heads * self.tile.num_basis))
        for start in range(0, self.num_pairs, most):
            yield slice(start, min(start + most, self.num_pairs))

    def means(self, part: slice, alpha: Tensor | None = None) -> Tensor:
        """Means of the radial functions over the images of pairs, ``(H, P, K)``; writes alpha."""
        num_heads, num_basis, count = *self.tile[:2], part.stop - part.start
        mean = self.weight.new_empty(num_heads, count, num_basis)
        panels = triton.cdiv(num_basis, self.tile.basis)
        if alpha is not None or panels > 0:
            grid = (count, max(1, panels))
            self._run(_sum_images, grid, part.start, count, alpha, mean if panels else None)
        return mean

    def pull(self, part: slice, *others: Tensor | None) -> None:
        """Pulls at the widths and vectors of pairs."""
        count = part.stop - part.start
        self._run(_pull_images, (count,), part.start, count, *others)

    def _run(self, kernel: Any, grid: tuple[int, ...], *others: Any) -> None:
        with on_device(self.weight.device):
            kernel[grid](
                *(self.crystals, self.radial, *others),
                EXCLUDE_SELF=self.exclude_self,
                TILE=self.tile,
                num_warps=self.tile.num_warps,
            )


def lattice_sum(
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    weight: Tensor,
    images: Tensor,
    num_pairs: int,
    spacing: float,
    width: float,
    exclude_self: bool,
) -> tuple[Tensor, Tensor]:
    """See ``op.lattice_sum``."""
    tensors = (position, lattice, ptr, sigma, weight, images)
    walk = _Walk(tensors, num_pairs, spacing, width, exclude_self)
    alpha = sigma.new_empty(num_pairs, weight.shape[0])
    beta = sigma.new_empty(num_pairs, *weight.shape[:2])
    with exactly(sigma):
        for part in walk.parts():
            beta[part] = torch.bmm(walk.means(part, alpha), weight.mT).transpose(0, 1)
    return alpha, beta


def lattice_sum_backward(
    grad_alpha: Tensor,
    grad_beta: Tensor,
    alpha: Tensor,
    beta: Tensor,
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    weight: Tensor,
    images: Tensor,
    spacing: float,
    width: float,
    exclude_self: bool,
    want_geometry: bool,
    want_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of positions, lattice, sigma and weight; empty ones where they are not wanted."""
    num_pairs = alpha.shape[0]
    tensors = (position, lattice, ptr, sigma, weight, images)
    walk = _Walk(tensors, num_pairs, spacing, width, exclude_self)
    grad_alpha = grad_alpha.contiguous()
    centred, of_precision = torch.empty_like(grad_alpha), torch.empty_like(grad_alpha)
    pulls = sigma.new_empty(num_pairs, 4, 4, dtype=torch.float64) if want_geometry else None
    of_weight = weight.new_zeros(weight.shape if want_weight else 0)
    with exactly(sigma):
        for part in walk.parts():
            arriving = grad_beta[part].transpose(0, 1)  # (H, P, C)
            centred[part] = grad_alpha[part] - (grad_beta[part] * beta[part]).sum(2)
            if want_weight:
                of_weight.baddbmm_(arriving.mT, walk.means(part))
            pull = torch.bmm(arriving, weight)  # (H, P, K)
            walk.pull(part, grad_alpha, centred, pull, of_precision, pulls)
    of_sigma = walk.pairs.by_query(of_precision) * sigma.pow(-3)
    if pulls is None:
        return sigma.new_empty(0), sigma.new_empty(0), of_sigma, of_weight
    of_position, of_lattice = (x.to(sigma.dtype) for x in walk.pairs.gathered(pulls))
    return of_position, of_lattice, of_sigma, of_weight
