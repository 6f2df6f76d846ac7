"""What sums over lattices ask of their inputs: kinds, shapes, and digits."""

import torch
from torch import Tensor

from graphattn.kernels.lattice_sum.images import refuse


def check_structure(
    position: Tensor,
    lattice: Tensor,
    ptr: Tensor,
    sigma: Tensor,
    limits: Tensor | None,
    weight: Tensor | None = None,
) -> None:
    """Refuses crystals whose tensors do not fit one another.

    Args:
        position: ``(N, 3)``.
        lattice: ``(S, 3, 3)``.
        ptr: ``(S + 1,)``, int64.
        sigma: ``(N, H)``.
        limits: Of images or waves, ``(S, 3)``, int64; may be missing.
        weight: ``(H, C, K)``; may be missing.

    Raises:
        TypeError: If a tensor is of another kind.
        ValueError: If a shape does not fit.
    """
    integers = {"ptr": ptr} | ({} if limits is None else {"images": limits})
    for name, x in integers.items():
        if not isinstance(x, Tensor) or x.dtype != torch.int64:
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{name} must be an int64 tensor, got {got}")
    if ptr.ndim != 1 or ptr.shape[0] == 0:
        raise ValueError(f"ptr must be (S + 1,), got {tuple(ptr.shape)}")
    num_crystals = ptr.shape[0] - 1
    if position.ndim != 2 or position.shape[1] != 3:
        raise ValueError(f"position must be (N, 3), got {tuple(position.shape)}")
    if lattice.shape != (num_crystals, 3, 3):
        raise ValueError(f"lattice must be ({num_crystals}, 3, 3), got {tuple(lattice.shape)}")
    if sigma.ndim != 2 or sigma.shape[0] != position.shape[0] or sigma.shape[1] == 0:
        raise ValueError(
            f"sigma must be (N, H) with N = {position.shape[0]}, got {tuple(sigma.shape)}"
        )
    if limits is not None and limits.shape != (num_crystals, 3):
        raise ValueError(f"images must be ({num_crystals}, 3), got {tuple(limits.shape)}")
    if weight is not None and (weight.ndim != 3 or weight.shape[0] != sigma.shape[1]):
        raise ValueError(
            f"weight must be (H, C, K) with H = {sigma.shape[1]}, got {tuple(weight.shape)}"
        )
    floating = [position, lattice, sigma] + ([] if weight is None else [weight])
    devices = {str(x.device) for x in (ptr, *floating)}
    if len(devices) > 1:
        raise ValueError(f"all but images must be on one device, got {sorted(devices)}")
    dtypes = {x.dtype for x in floating}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise TypeError(f"all must be float32, or all float64, got {sorted(map(str, dtypes))}")


def check_cells(lattice: Tensor) -> None:
    """Refuses cells, ``(S, 3, 3)``, without a volume; one of NaN may pass.

    Raises:
        ValueError: See above; names the crystal. See ``refuse``.
    """
    first, second, third = lattice.unbind(1)
    volume = (first.cross(second, dim=-1) * third).sum(-1)
    refuse((volume == 0) | volume.isinf(), "must have a cell with a volume")


def check_rows(dtype: torch.dtype, *rows: tuple[Tensor, tuple[int, ...]]) -> None:
    """Refuses results, or gradients of them, of other shapes or types than these.

    Raises:
        ValueError: See above.
    """
    for x, shape in rows:
        if x.shape != shape or x.dtype != dtype:
            raise ValueError(
                f"a result and its gradient must be {shape} {dtype}, got {tuple(x.shape)} {x.dtype}"
            )


def widened(**tensors: Tensor) -> tuple[Tensor, ...]:
    """All in one type, float32 or wider.

    Raises:
        TypeError: If one is not a floating-point tensor; says which.
    """
    dtype = torch.float32
    for name, x in tensors.items():
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{name} must be a floating-point tensor, got {got}")
        dtype = torch.promote_types(dtype, x.dtype)
    return tuple(x.to(dtype) for x in tensors.values())


def exactly(x: Tensor) -> torch.autocast:
    """Within it, products are not rounded to half precision on the device of a tensor."""
    return torch.autocast(x.device.type, enabled=False)


def check_backend(backend: str) -> None:
    """Refuses what is no backend.

    Raises:
        ValueError: See above.
    """
    if backend not in ("auto", "reference"):
        raise ValueError(f"backend must be 'auto' or 'reference', got {backend!r}")
