"""How many cells in each direction a sum over a lattice must reach for a given error."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.segment_reduce.op import check_ptr

TAIL = 1e-6  # what is left out is at most this part of the sum
MOST_IMAGES = 2**17  # of a crystal: a kernel keeps their vectors in a core's cache


def image_range(
    position: Tensor, lattice: Tensor, ptr: Tensor, sigma: Tensor, *, exclude_self: bool = False
) -> Tensor:
    r"""The cells that a sum of Gaussians over a lattice needs, in each direction.

    The images that are left out are at least :math:`R` away from every atom that could see them. By
    Banaszczyk's bound they are, for :math:`R^2 \ge 3 \sigma^2`, at most

    .. math::
        \Bigl(\frac{e R^2}{3 \sigma^2}\Bigr)^{3/2} \exp\frac{d^2 - R^2}{2 \sigma^2}

    of the sum, where :math:`d` is the distance of any one image: half the longest diagonal of the
    cell, shortened where the atoms span less than half of it. :math:`R` makes this a millionth
    for the largest :math:`\sigma` of the crystal, and it is less for smaller ones. The cells follow
    from the distances of lattice planes and from how far apart the atoms are along their normals,
    in skewed cells, too.

    Args:
        position: Cartesian coordinates, ``(N, 3)``, in Å.
        lattice: Lattice vectors as rows, ``(S, 3, 3)``, in Å.
        ptr: Crystal ``s`` has the atoms ``ptr[s]:ptr[s + 1]``; ``(S + 1,)``, int64.
        sigma: Widths of the Gaussians, ``(N, H)``, in Å.
        exclude_self: Whether the sum leaves out the image of an atom in its own place; the nearest
            one is then a lattice vector away.

    Returns:
        ``(S, 3)``, int64, on the CPU: images are from minus this to this number of cells away. Zero
        for a crystal without atoms.

    Raises:
        ValueError: If ``ptr`` does not rise from 0 to ``N``. If a cell has no volume, an atom is
            nowhere, a sigma is not positive and finite, or a crystal needs more than 131,072
            images; names the crystal.

    Source: Banaszczyk, "New bounds in some transference theorems in the geometry of numbers",
        Mathematische Annalen 1993; a shifted lattice has at least :math:`\exp(-d^2 / 2 \sigma^2)`
        times the sum of the lattice itself.
    """
    position, lattice, sigma = (t.detach().double().cpu() for t in (position, lattice, sigma))
    check_ptr(ptr.cpu(), position.shape[0])
    sizes, owner = ptr.diff().cpu(), owners(ptr.cpu(), position.shape[0])
    normals = reciprocal_rows(lattice)
    place = torch.einsum("nd,nkd->nk", position, normals[owner])  # in cells
    extent = of_crystals(place, owner, len(sizes), "amax")
    extent = extent - of_crystals(place, owner, len(sizes), "amin")
    widest = of_crystals(sigma, owner, len(sizes), "amax").amax(1)
    narrowest = of_crystals(sigma, owner, len(sizes), "amin").amin(1)
    refuse(~normals.isfinite().flatten(1).all(1), "must have a cell with a volume")
    refuse(~extent.isfinite().all(1), "must have atoms at finite positions")
    refuse(~((narrowest > 0) & widest.isfinite()), "must have sigma that are positive and finite")
    nearest = _half_diagonal(lattice, (2 * extent).clamp(max=1))
    if exclude_self:
        nearest = torch.maximum(nearest, lattice.square().sum(-1).amin(1).sqrt())
    # Without an atom's own image, at least two thirds of the bound on the sum remain.
    reach = widest * reach_of(nearest / widest, TAIL * (2 / 3 if exclude_self else 1))
    cells = reach.unsqueeze(1) * normals.square().sum(-1).sqrt() + extent
    return whole_cells(cells.masked_fill((sizes == 0).unsqueeze(1), 0))


@torch.library.custom_op("graphattn::lattice_images", mutates_args=())
def lattice_images(
    position: Tensor, lattice: Tensor, ptr: Tensor, sigma: Tensor, exclude_self: bool
) -> tuple[Tensor, Tensor]:
    """The images that are summed, ``(S, 3)``, once atoms are so many cells, ``(N, 3)``, back."""
    check_ptr(ptr, position.shape[0])
    cells = cells_of(position, lattice, ptr)
    inside = moved(position, cells, lattice, ptr)
    return image_range(inside, lattice, ptr, sigma, exclude_self=exclude_self), cells


@lattice_images.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    position, lattice = arguments[:2]
    return torch.empty(len(lattice), 3, dtype=torch.int64), position.new_empty(position.shape)


@lattice_images.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
    found = [lattice_images(*own) for own in entries(info.batch_size, in_dims, arguments)]
    images, cells = zip(*found, strict=True)
    return (torch.stack(images).amax(0), torch.stack(cells)), (None, 0)


def entries(
    size: int, dims: tuple[int | None, ...], arguments: tuple[Any, ...]
) -> Iterator[list[Any]]:
    """The arguments of each entry of a ``vmap``.

    One range of images is then found for all of them, the largest: a sum needs to know it, and one
    that goes farther is closer.

    Args:
        size: Number of entries.
        dims: The dimension of the entries in each argument; ``None`` where all have the same.
        arguments: Those of an operator.
    """
    for entry in range(size):
        yield [
            x if dim is None else x.select(dim, entry)
            for dim, x in zip(dims, arguments, strict=True)
        ]


def reciprocal_rows(lattice: Tensor) -> Tensor:
    """Rows that give the fractional coordinates of a point, ``(S, 3, 3)``, without factor 2π."""
    first, second, third = lattice.unbind(1)
    crossed = (second.cross(third, dim=-1), third.cross(first, dim=-1))
    last = first.cross(second, dim=-1)
    volume = (last * third).sum(-1)
    return torch.stack([*crossed, last], dim=1) / volume[:, None, None]


def reach_of(nearest: Tensor, tail: float) -> Tensor:
    """The radius that leaves out at most this part of a sum; both lengths in units of sigma."""
    least = nearest.square() - 2 * math.log(tail)
    squared = 2 * least + 64  # above the fixed point, towards which it then falls
    for _ in range(24):
        squared = least + 3 * (squared * (math.e / 3)).log()
    return squared.sqrt()


def whole_cells(cells: Tensor) -> Tensor:
    """The images to be summed if those so many cells away, ``(S, 3)``, may be left out.

    Raises:
        ValueError: If there are too many; names the crystal.
    """
    limits = (cells.ceil() - 1).clamp(min=0)
    check_count(limits)
    return limits.long()


def cells_of(position: Tensor, lattice: Tensor, ptr: Tensor) -> Tensor:
    """How many cells away from its own each atom is, ``(N, 3)``, whole numbers."""
    normals = reciprocal_rows(lattice)[owners(ptr, position.shape[0])]
    return (position.unsqueeze(1) * normals).sum(2).floor()  # a product, which autocast leaves


def moved(position: Tensor, cells: Tensor, lattice: Tensor, ptr: Tensor) -> Tensor:
    """The same atoms so many cells, ``(N, 3)``, back."""
    return position - (cells.unsqueeze(2) * lattice[owners(ptr, position.shape[0])]).sum(1)


def owners(ptr: Tensor, num_atoms: int) -> Tensor:
    """The crystal of each atom, ``(N,)``."""
    every = torch.arange(ptr.shape[0] - 1, device=ptr.device)
    return every.repeat_interleave(ptr.diff(), output_size=num_atoms)


def check_images(
    images: Tensor, ptr: Tensor, sigma: Tensor, num_pairs: int, exclude_self: bool = False
) -> None:
    """Refuses, by their values, what a kernel cannot go by; a sigma of NaN may pass.

    Raises:
        ValueError: If ``ptr`` does not rise from 0 to ``N``, there are not so many pairs, or a
            crystal has no images, too many, or a sigma that is no length; names the crystal. See
            ``refuse``.
    """
    check_ptr(ptr, sigma.shape[0])
    found = ptr.diff().square().sum()
    if ptr.device.type != "cpu":
        torch._assert_async(found == num_pairs, f"num_pairs must fit ptr, got {num_pairs}")
    elif found != num_pairs:
        raise ValueError(f"num_pairs must be {int(found)}, got {num_pairs}")
    check_count(images)
    if exclude_self:
        is_alone = (images == 0).all(1).to(ptr.device, non_blocking=True) & (ptr.diff() > 0)
        refuse(is_alone, "must have images beyond its own cell with exclude_self")
    is_wrong = ((sigma <= 0) | sigma.isinf()).any(1)
    before = torch.cat([ptr.new_zeros(1), is_wrong.cumsum(0)])
    refuse(before[ptr].diff() > 0, "must have sigma that are positive and finite")


def check_count(limits: Tensor) -> None:
    """Refuses a crystal with too many images, or with less than none.

    Raises:
        ValueError: See above; names the crystal.
    """
    count = (2 * limits.double() + 1).prod(1)
    refuse(
        ~(count <= MOST_IMAGES) | (limits < 0).any(1),
        f"must have from 1 to {MOST_IMAGES} images (a smaller sigma needs fewer, in the sum over"
        " the reciprocal lattice a larger one)",
        limits,
    )


def refuse(is_wrong: Tensor, what: str, got: Tensor | None = None) -> None:
    """Raises for the first crystal of which something is wrong, ``(S,)``.

    On a GPU that traps, see ``segment_reduce.op.check_ptr``, and names none.

    Raises:
        ValueError: If there is any, and it lies on the CPU.
    """
    if is_wrong.device.type != "cpu":
        torch._assert_async(~is_wrong.any(), f"each crystal {what}")
        return
    is_wrong = _of_all_entries(is_wrong)
    if bool(is_wrong.any()):
        crystal = int(is_wrong.nonzero()[0])
        value = "" if got is None else f", got limits of {got[crystal].tolist()} cells"
        raise ValueError(f"crystal {crystal} {what}{value}")


def _of_all_entries(is_wrong: Tensor) -> Tensor:
    """Of which crystals, ``(S,)``, something is wrong in any entry that ``vmap`` maps."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(is_wrong):
        axis = functorch.maybe_get_bdim(is_wrong)
        is_wrong = functorch.get_unwrapped(is_wrong)
        is_wrong = is_wrong if axis < 0 else is_wrong.any(axis)
    return is_wrong


def of_crystals(x: Tensor, owner: Tensor, num_crystals: int, reduce: str) -> Tensor:
    """Largest or least rows of each crystal, of atoms or a one for a crystal without them."""
    index = owner.unsqueeze(1).expand_as(x)
    start = x.new_ones(num_crystals, x.shape[1])
    return start.scatter_reduce(0, index, x, reduce, include_self=False)


def _half_diagonal(lattice: Tensor, extent: Tensor) -> Tensor:
    """Half the longest diagonal of a cell shortened to these parts of its edges, ``(S,)``."""
    edges = lattice * extent.unsqueeze(2) / 2
    longest = edges.new_zeros(lattice.shape[0])
    for second, third in itertools.product((1, -1), repeat=2):
        diagonal = edges[:, 0] + second * edges[:, 1] + third * edges[:, 2]
        longest = torch.maximum(longest, diagonal.square().sum(-1).sqrt())
    return longest
