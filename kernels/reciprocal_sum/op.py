"""Sums over the reciprocal lattice as PyTorch operators, with the documented public function."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from graphattn.kernels.cpp.fallback import (
    can_compile,
    must_be_plain,
    or_by_definition,
    refuse_forward_mode,
)
from graphattn.kernels.lattice_sum.checks import (
    check_backend,
    check_rows,
    check_structure,
    exactly,
    widened,
)
from graphattn.kernels.lattice_sum.images import (
    TAIL,
    check_images,
    entries,
    of_crystals,
    owners,
    reach_of,
    reciprocal_rows,
    refuse,
    whole_cells,
)
from graphattn.kernels.reciprocal_sum import cpu, reference
from graphattn.kernels.segment_reduce.op import check_ptr
from graphattn.kernels.triton.available import require_triton

LEAST = 1e-6  # below this a sum is noise of what cancels


def reciprocal_log_sum(
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    *,
    waves: Tensor | None = None,
    num_pairs: int | None = None,
    backend: Literal["auto", "reference"] = "auto",
) -> Tensor:
    r"""Sums of Gaussians over all images of a key, as a sum over waves.

    .. math::
        \alpha_{ij} = \log \max\Bigl(\sum_k e^{-\sigma_i^2 \lVert k \rVert^2 / 2}
        \cos\bigl(k \cdot (p_j - p_i)\bigr), 10^{-6}\Bigr)
        + \tfrac32 \log(2 \pi \sigma_i^2) - \log V

    with :math:`k` in the reciprocal lattice, :math:`V` the volume of the cell. By Poisson's formula
    this is the sum of ``lattice_log_sum``; it needs few waves where that needs many images, when
    :math:`\sigma` is wide. Where it is narrow, the sum between images is of waves that cancel, and
    is taken as a millionth at least, without a derivative.

    Args:
        position: Cartesian coordinates, ``(N, 3)``, in Å.
        lattice: Lattice vectors as rows, ``(S, 3, 3)``, in Å.
        ptr: Crystal ``s`` has the atoms ``ptr[s]:ptr[s + 1]``; ``(S + 1,)``, int64, rising from 0
            to ``N``; crystals may be empty.
        sigma: Width of the Gaussians of each query and head, ``(N, H)``, positive, in Å.
        waves: The sum goes over waves from minus to plus this number of each vector of the
            reciprocal lattice, ``(S, 3)``, int64. Without it, what is left out is at most a
            millionth of the sum of the amplitudes.
        num_pairs: ``P``, the sum of the squares of the numbers of atoms; counted without it.
        backend: ``"auto"`` takes the C++ kernel on the CPU, Triton's on a GPU, plain PyTorch
            elsewhere, inside ``torch.func`` and, with a warning, without a compiler;
            ``"reference"`` is plain PyTorch.

    Returns:
        ``(P, H)``, the pairs in the order of ``Blocks``. Float64 if an input is, else float32.
        Differentiable any number of times, in positions, lattice and sigma.

    Raises:
        TypeError: If a tensor is of another kind than these.
        ValueError: If a shape does not fit, a cell has no volume, a sigma is not positive and
            finite, or a crystal needs more than 131,072 waves; names the crystal. With ``waves``, a
            sigma of NaN gives NaN. A GPU checks values by itself, see ``segment_reduce.op``.
        ModuleNotFoundError: If Triton, which the GPU needs, is not installed.

    Source: Taniai et al., "Crystalformer: Infinitely Connected Attention for Periodic Structure
        Encoding", ICLR 2024. The official code gives NaN for left-handed cells; this does not.
    """
    check_backend(backend)
    position, lattice, sigma = widened(position=position, lattice=lattice, sigma=sigma)
    check_structure(position, lattice, ptr, sigma, waves)
    if num_pairs is None:
        num_pairs = int(ptr.diff().square().sum())
    if waves is None:
        waves = _lattice_waves(lattice.detach(), ptr, sigma.detach())
    reciprocal = 2 * math.pi * reciprocal_rows(lattice)
    run = _by_definition if backend == "reference" else _sums
    total = run(position, reciprocal, ptr, sigma, waves, num_pairs)
    owner, sizes = owners(ptr, position.shape[0]), ptr.diff()
    volume = torch.linalg.det(lattice).abs()
    scale = 1.5 * (2 * math.pi * sigma.square()).log() - volume.log()[owner, None]  # (N, H)
    scale = scale.repeat_interleave(sizes[owner], dim=0, output_size=num_pairs)
    return total.clamp(min=LEAST).log() + scale


def wave_range(lattice: Tensor, ptr: Tensor, sigma: Tensor) -> Tensor:
    """The waves that a sum of Gaussians needs, in each direction of the reciprocal lattice.

    Args:
        lattice: ``(S, 3, 3)``, in Å.
        ptr: ``(S + 1,)``, int64.
        sigma: ``(N, H)``, in Å.

    Returns:
        ``(S, 3)``, int64, on the CPU. Zero for a crystal without atoms.

    Raises:
        ValueError: See ``reciprocal_log_sum``.
    """
    check_ptr(ptr.cpu(), sigma.shape[0])
    lattice, sigma = lattice.detach().double().cpu(), sigma.detach().double().cpu()
    sizes, owner = ptr.diff().cpu(), owners(ptr.cpu(), sigma.shape[0])
    narrowest = of_crystals(sigma, owner, len(sizes), "amin").amin(1)
    widest = of_crystals(sigma, owner, len(sizes), "amax").amax(1)
    refuse(~reciprocal_rows(lattice).isfinite().flatten(1).all(1), "must have a cell with a volume")
    refuse(~((narrowest > 0) & widest.isfinite()), "must have sigma that are positive and finite")
    reach = reach_of(torch.zeros_like(narrowest), TAIL) / narrowest
    cells = reach.unsqueeze(1) * lattice.square().sum(-1).sqrt() / (2 * math.pi)
    return whole_cells(cells.masked_fill((sizes == 0).unsqueeze(1), 0))


@torch.library.custom_op("graphattn::lattice_waves", mutates_args=())
def _lattice_waves(lattice: Tensor, ptr: Tensor, sigma: Tensor) -> Tensor:
    return wave_range(lattice, ptr, sigma)


@_lattice_waves.register_fake
def _(lattice: Tensor, ptr: Tensor, sigma: Tensor) -> Tensor:
    return torch.empty(lattice.shape[0], 3, dtype=torch.int64)


@_lattice_waves.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, None]:
    found = [_lattice_waves(*own) for own in entries(info.batch_size, in_dims, arguments)]
    return torch.stack(found).amax(0), None


def _by_definition(
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    num_pairs: int,
) -> Tensor:
    _check(position, reciprocal, ptr, sigma, waves, num_pairs)
    with exactly(sigma):
        return reference.wave_sum(position, reciprocal, ptr, sigma, waves)


def _check(
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    num_pairs: int,
) -> None:
    """The operators can be called by anyone, and not only by the function that checks."""
    check_structure(position, reciprocal, ptr, sigma, waves)
    check_images(waves, ptr, sigma, num_pairs)
    refuse(~reciprocal.isfinite().flatten(1).all(1), "must have a cell with a volume")


@torch.library.custom_op("graphattn::wave_sum", mutates_args=())
def _wave_sum(
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    num_pairs: int,
) -> Tensor:
    refuse_forward_mode()
    tensors = (position, reciprocal, ptr, sigma, waves)
    if not can_compile(*tensors):
        return _by_definition(*tensors, num_pairs)
    _check(*tensors, num_pairs)
    return cpu.wave_sum(*tensors, num_pairs)


@_wave_sum.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    refuse_forward_mode()
    _check(*arguments)
    require_triton()
    from graphattn.kernels.reciprocal_sum import triton

    return triton.wave_sum(*arguments)


@_wave_sum.register_fake
def _(*arguments: Any) -> Tensor:
    sigma, _, num_pairs = arguments[3:]
    return sigma.new_empty(num_pairs, sigma.shape[1])


@torch.library.custom_op("graphattn::wave_sum_backward", mutates_args=())
def _wave_sum_backward(
    grad: Tensor,
    position: Tensor,
    reciprocal: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    waves: Tensor,
    want_geometry: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of positions, reciprocal lattice and sigma; empty ones where not wanted."""
    tensors = (grad, position, reciprocal, ptr, sigma, waves)
    _check_gradient(*tensors)
    if can_compile(*tensors):
        return cpu.wave_sum_backward(*tensors, want_geometry)
    with exactly(sigma):
        of_position, of_reciprocal, of_sigma = reference.gradients(*tensors)
    if not want_geometry:
        of_position, of_reciprocal = grad.new_empty(0), grad.new_empty(0)
    return of_position, of_reciprocal, of_sigma


@_wave_sum_backward.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    _check_gradient(*arguments[:6])
    require_triton()
    from graphattn.kernels.reciprocal_sum import triton

    return triton.wave_sum_backward(*arguments)


def _check_gradient(grad: Tensor, *tensors: Tensor) -> None:
    position, reciprocal, ptr, sigma, waves = tensors
    _check(position, reciprocal, ptr, sigma, waves, grad.shape[0])
    check_rows(sigma.dtype, (grad, (grad.shape[0], sigma.shape[1])))


@_wave_sum_backward.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    grad, position, reciprocal, _, sigma, _, want_geometry = arguments
    return (
        grad.new_empty(position.shape if want_geometry else 0),
        grad.new_empty(reciprocal.shape if want_geometry else 0),
        grad.new_empty(sigma.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    tensors, needs = ctx.saved_tensors, ctx.needs_input_grad
    if must_be_plain():
        with exactly(grad):
            found = reference.gradients(grad, *tensors)
    else:
        found = _wave_sum_backward(grad, *tensors, needs[0] or needs[1])
    gradients = dict(zip((0, 1, 3), found, strict=True))
    return tuple(gradients.get(number) if needs[number] else None for number in range(6))


_wave_sum.register_autograd(_backward, setup_context=_save)
_sums = or_by_definition(_wave_sum, _by_definition)
