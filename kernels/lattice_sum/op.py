"""Lattice sums as PyTorch operators: schemas, dispatch, derivatives, the public functions."""

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
from graphattn.kernels.lattice_sum import cpu, reference
from graphattn.kernels.lattice_sum.checks import (
    check_backend,
    check_cells,
    check_rows,
    check_structure,
    exactly,
    widened,
)
from graphattn.kernels.lattice_sum.images import check_images, lattice_images, moved
from graphattn.kernels.triton.available import require_triton


def lattice_sum(
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    weight: Tensor,
    *,
    spacing: float,
    width: float | None = None,
    images: Tensor | None = None,
    exclude_self: bool = False,
    num_pairs: int | None = None,
    backend: Literal["auto", "reference"] = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Sums over all images of a key, of Gaussians and of functions of the distance under them.

    For each query :math:`i`, key :math:`j` and head :math:`h` of a crystal, with
    :math:`r_{ij}(n) = \lVert p_j + n L - p_i \rVert`:

    .. math::
        \alpha_{ij} = \log \sum_n e^{-r_{ij}(n)^2 / 2 \sigma_i^2}, \qquad
        \beta_{ij} = \sum_n e^{-r_{ij}(n)^2 / 2 \sigma_i^2 - \alpha_{ij}}
        \sum_k w_k \exp\Bigl(-\tfrac12 \bigl(\tfrac{r_{ij}(n) - k s}{u}\bigr)^2\Bigr)

    Attention over infinitely many images is then attention over the atoms of a cell, with logits
    :math:`q_i k_j + \alpha_{ij}` and messages :math:`v_j + \beta_{ij}`. Nothing is kept of single
    images. The bits are the same for any number of threads.

    Args:
        position: Cartesian coordinates, ``(N, 3)``, in Å.
        lattice: Lattice vectors as rows, ``(S, 3, 3)``, in Å.
        ptr: Crystal ``s`` has the atoms ``ptr[s]:ptr[s + 1]``; ``(S + 1,)``, int64, rising from 0
            to ``N``; crystals may be empty.
        sigma: Width of the Gaussians of each query and head, ``(N, H)``, positive, in Å.
        weight: What each radial function adds to each channel, ``(H, C, K)``.
        spacing: From the centre of one radial function to that of the next, :math:`s`; the first is
            so far from zero; in Å.
        width: Of the radial functions, :math:`u`, in Å; that of the spacing without it.
        images: The sum goes over images up to so many cells away, ``(S, 3)``, int64. Without it, it
            goes so far that what is left out is less than a millionth of the sum, see
            ``image_range``; atoms are then moved into the cell first, which changes nothing.
        exclude_self: Whether to leave out the image of an atom in its own place.
        num_pairs: ``P``, the sum of the squares of the numbers of atoms; counted without it.
        backend: ``"auto"`` takes the C++ kernel on the CPU, Triton's on a GPU, plain PyTorch
            elsewhere, inside ``torch.func`` and, with a warning, without a compiler;
            ``"reference"`` is plain PyTorch.

    Returns:
        ``alpha``, ``(P, H)``, and ``beta``, ``(P, H, C)``, the pairs in the order of ``Blocks``:
        query by query, the keys of a query in order. Float64 if an input is, else float32.
        Differentiable any number of times, in positions, lattice, sigma and weight; at distance
        zero the derivative of a distance is zero. Second derivatives are those of the definition,
        which keeps every image.

    Raises:
        TypeError: If a tensor is of another kind than these.
        ValueError: If a shape does not fit; and see ``image_range``, which names the crystal. With
            ``images``, NaN gives NaN. A GPU checks values by itself, see ``segment_reduce.op``.
        ModuleNotFoundError: If Triton, which the GPU needs, is not installed.

    Source: Taniai et al., "Crystalformer: Infinitely Connected Attention for Periodic Structure
        Encoding", ICLR 2024. The official gradient of the positions leaves out that the radial
        functions depend on the distance; this one does not.
    """
    check_backend(backend)
    position, lattice, sigma, weight = widened(
        position=position, lattice=lattice, sigma=sigma, weight=weight
    )
    check_structure(position, lattice, ptr, sigma, images, weight)
    width = spacing if width is None else width
    if not (0 < spacing < math.inf and 0 < width < math.inf):
        raise ValueError(f"spacing and width must be positive lengths, got {spacing} and {width}")
    if images is None:
        geometry = (position.detach(), lattice.detach(), ptr, sigma.detach())
        images, cells = lattice_images(*geometry, exclude_self)
        position = moved(position, cells, lattice, ptr)
    if num_pairs is None:
        num_pairs = int(ptr.diff().square().sum())
    arguments = (position, lattice, ptr, sigma, weight, images, num_pairs)
    run = _by_definition if backend == "reference" else _sums
    return run(*arguments, float(spacing), float(width), exclude_self)


def lattice_log_sum(
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    *,
    images: Tensor | None = None,
    exclude_self: bool = False,
    num_pairs: int | None = None,
    backend: Literal["auto", "reference"] = "auto",
) -> Tensor:
    """The sums of Gaussians alone: ``alpha`` of ``lattice_sum``, whose arguments these are.

    Returns:
        ``(P, H)``.

    Raises:
        TypeError: See ``lattice_sum``.
        ValueError: See ``lattice_sum``.
    """
    if not isinstance(sigma, Tensor) or sigma.ndim != 2:
        raise ValueError(f"sigma must be an (N, H) tensor, got {getattr(sigma, 'shape', sigma)}")
    alpha, _ = lattice_sum(
        position,
        lattice,
        ptr,
        sigma,
        sigma.new_empty(sigma.shape[1], 0, 0),
        spacing=1.0,
        images=images,
        exclude_self=exclude_self,
        num_pairs=num_pairs,
        backend=backend,
    )
    return alpha


def _by_definition(*arguments: Any) -> tuple[Tensor, Tensor]:
    tensors, num_pairs, form = arguments[:6], arguments[6], arguments[7:]
    _check(tensors, num_pairs, form[-1])
    with exactly(tensors[0]):
        return reference.lattice_sum(*tensors, *form)


def _check(tensors: tuple[Tensor, ...], num_pairs: int, exclude_self: bool) -> None:
    """The operators can be called by anyone, and not only by the function that checks."""
    position, lattice, ptr, sigma, weight, images = tensors
    check_structure(position, lattice, ptr, sigma, images, weight)
    check_images(images, ptr, sigma, num_pairs, exclude_self)
    check_cells(lattice)


@torch.library.custom_op("graphattn::lattice_sum", mutates_args=())
def _lattice_sum(
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
    refuse_forward_mode()
    tensors = (position, lattice, ptr, sigma, weight, images)
    if not can_compile(*tensors):
        return _by_definition(*tensors, num_pairs, spacing, width, exclude_self)
    _check(tensors, num_pairs, exclude_self)
    return cpu.lattice_sum(*tensors, num_pairs, spacing, width, exclude_self)


@_lattice_sum.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    refuse_forward_mode()
    _check(arguments[:6], arguments[6], arguments[-1])
    require_triton()
    from graphattn.kernels.lattice_sum import triton

    return triton.lattice_sum(*arguments)


@_lattice_sum.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    sigma, weight, _, num_pairs = arguments[3:7]
    return sigma.new_empty(num_pairs, weight.shape[0]), sigma.new_empty(
        num_pairs, *weight.shape[:2]
    )


@torch.library.custom_op("graphattn::lattice_sum_backward", mutates_args=())
def _lattice_sum_backward(
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
    arriving, results = (grad_alpha, grad_beta), (alpha, beta)
    inputs = (position, lattice, ptr, sigma, weight, images)
    _check_rows((*arriving, *results), inputs, exclude_self)
    if can_compile(*arriving, *results, *inputs):
        return cpu.lattice_sum_backward(
            *arriving, *results, *inputs, spacing, width, exclude_self, want_geometry, want_weight
        )
    with exactly(sigma):
        found = reference.gradients(*arriving, *inputs, spacing, width, exclude_self)
    of_position, of_lattice, of_sigma, of_weight = found
    if not want_geometry:
        of_position, of_lattice = of_position.new_empty(0), of_lattice.new_empty(0)
    return of_position, of_lattice, of_sigma, of_weight if want_weight else of_weight.new_empty(0)


@_lattice_sum_backward.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_rows(arguments[:4], arguments[4:10], arguments[12])
    require_triton()
    from graphattn.kernels.lattice_sum import triton

    return triton.lattice_sum_backward(*arguments)


def _check_rows(rows: tuple[Tensor, ...], tensors: tuple[Tensor, ...], exclude_self: bool) -> None:
    """Checks the gradients of both results and these themselves, too."""
    num_pairs, weight = rows[2].shape[0], tensors[4]
    _check(tensors, num_pairs, exclude_self)
    of_alpha, of_beta = (num_pairs, weight.shape[0]), (num_pairs, *weight.shape[:2])
    check_rows(weight.dtype, *zip(rows, 2 * (of_alpha, of_beta), strict=True))


@_lattice_sum_backward.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    position, lattice, _, sigma, weight = arguments[4:9]
    want_geometry, want_weight = arguments[-2:]
    return (
        sigma.new_empty(position.shape if want_geometry else 0),
        sigma.new_empty(lattice.shape if want_geometry else 0),
        sigma.new_empty(sigma.shape),
        sigma.new_empty(weight.shape if want_weight else 0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs[:6])
    ctx.form = inputs[7:]


def _backward(ctx: Any, grad_alpha: Tensor, grad_beta: Tensor) -> tuple[Tensor | None, ...]:
    alpha, beta, *inputs = ctx.saved_tensors
    needs = ctx.needs_input_grad
    wants = (needs[0] or needs[1], needs[4])
    if must_be_plain():
        with exactly(alpha):
            found = reference.gradients(grad_alpha, grad_beta, *inputs, *ctx.form)
    else:
        found = _lattice_sum_backward(
            grad_alpha, grad_beta, alpha, beta, *inputs, *ctx.form, *wants
        )
    gradients = dict(zip((0, 1, 3, 4), found, strict=True))
    return tuple(gradients.get(number) if needs[number] else None for number in range(10))


_lattice_sum.register_autograd(_backward, setup_context=_save)
_sums = or_by_definition(_lattice_sum, _by_definition)
