"""What a Crystalformer attends to, image by image, and how far away that is."""

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.datasets.crystals import CrystalBatch
from graphattn.kernels.lattice_sum import image_range
from graphattn.kernels.lattice_sum.images import cells_of, moved
from graphattn.kernels.lattice_sum.reference import all_images
from graphattn.models.crystalformer import Crystalformer
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.lattice_terms import RealSpace, ReciprocalSpace
from graphattn.nn.crystals.lattice_waves import WaveSpace
from graphattn.plot.weights import watched


class CrystalWeights(NamedTuple):
    """What one layer attended to in a batch of crystals.

    Attributes:
        crystals: Where the atoms are, and how they repeat.
        weights: Of each pair, of all images of an atom together, ``(P, H)``.
        sigma: Widths of the Gaussians by which images are weighed, ``(N, H)``, in Å.
        images: Sums went over images up to so many cells away, ``(S, 3)``, int64.
        exclude_self: Whether they left out the image of an atom in its own place.
    """

    crystals: Crystals
    weights: Tensor
    sigma: Tensor
    images: Tensor
    exclude_self: bool


class ImageWeights(NamedTuple):
    """What one atom of a crystal attends to, each image by itself.

    Attributes:
        query: The atom that attends, by its number in the crystal.
        atom: The atom of which each is an image, ``(R,)``, int64, likewise.
        position: Where the images are, ``(R, 3)`` float64, in Å.
        distance: From the atom that attends, ``(R,)`` float64, in Å.
        weight: ``(R, H)`` float64; sums over the images of an atom are the weights of the layer.
        sigma: Width of the Gaussian of each head, ``(H,)`` float64, in Å.
    """

    query: int
    atom: Tensor
    position: Tensor
    distance: Tensor
    weight: Tensor
    sigma: Tensor


class ShellProfile(NamedTuple):
    """The weight that an atom gives to all that lies in a shell around it, on average over atoms.

    Attributes:
        step: Thickness of a shell, in Å.
        weight: ``(D + 1, H)`` float64, row ``d`` for distances from ``d`` to ``d + 1`` steps; the
            last row for all that is farther. Where weights sum to one, so do the columns.
    """

    step: float
    weight: Tensor


def weights_on_crystals(model: Crystalformer, batch: CrystalBatch) -> list[CrystalWeights]:
    """Calls a model as in evaluation, and returns what its layers attend to.

    Args:
        model: It stays as it is: each part in training or not.
        batch: The crystals, on the model's device.

    Returns:
        One for each layer, in order, without gradients.

    Raises:
        TypeError: If images of a layer are weighed by something else than one Gaussian for each
            head, such as by ``HeadGroups``; and see ``Crystalformer``.
        ValueError: See ``Crystalformer``.
    """
    layers: list[Any] = list(model.layers)
    terms_of_layers = [layer.attention.terms for layer in layers]
    for number, terms in enumerate(terms_of_layers):
        if not isinstance(terms, RealSpace | ReciprocalSpace | WaveSpace):
            raise TypeError(
                f"terms of layer {number} must be RealSpace, ReciprocalSpace or WaveSpace, got "
                f"{type(terms).__name__}"
            )
    chosen: list[tuple[Tensor, Crystals]] = []
    hooks = [
        terms.register_forward_pre_hook(lambda _, given: chosen.append(given))
        for terms in terms_of_layers
    ]
    with watched(model, hooks):
        where = (batch.position, batch.lattice, batch.ptr)
        _, weights = model(batch.numbers, *where, return_weights=True)
        return [
            _layer(terms, *given, own)
            for terms, given, own in zip(terms_of_layers, chosen, weights, strict=True)
        ]


def _layer(
    terms: RealSpace | ReciprocalSpace | WaveSpace,
    gamma: Tensor,
    crystals: Crystals,
    weights: Tensor,
) -> CrystalWeights:
    sigma = terms.gaussians.sigma(gamma)
    exclude_self = isinstance(terms, RealSpace) and terms.exclude_self
    if isinstance(terms, ReciprocalSpace) or terms.num_cells is None:
        where = (crystals.lattice, crystals.ptr)
        cells = cells_of(crystals.position, *where)
        crystals = dataclasses.replace(crystals, position=moved(crystals.position, cells, *where))
        images = image_range(crystals.position, *where, sigma, exclude_self=exclude_self)
    else:
        images = crystals.everywhere(terms.num_cells)
    return CrystalWeights(crystals, weights, sigma, images, exclude_self)


def image_weights(layer: CrystalWeights, atom: int, crystal: int = 0) -> ImageWeights:
    r"""Divides the weights of one atom among the images of those that it attends to.

    .. math::
        w_{ij}(n) = w_{ij} \, e^{-r_{ij}(n)^2 / 2 \sigma_i^2 - \alpha_{ij}}

    Args:
        layer: What a layer attended to, see ``weights_on_crystals``.
        atom: The atom that attends, by its number in the crystal.
        crystal: The crystal, by its number in the batch.

    Returns:
        All images that the layer summed, one atom after another. Those of a layer in reciprocal
        space are the images by which its waves would be summed in real space.

    Raises:
        IndexError: If there is no such crystal, or no such atom in it.
    """
    borders = layer.crystals.ptr.tolist()
    if not 0 <= crystal < len(borders) - 1:
        raise IndexError(f"crystal must lie in [0, {len(borders) - 1}), got {crystal}")
    first, last = borders[crystal : crystal + 2]
    size = last - first
    if not 0 <= atom < size:
        raise IndexError(f"atom must lie in [0, {size}), got {atom}")
    place = int(layer.crystals.blocks.by_target.ptr[first + atom])  # its first pair
    number = all_images(layer.images[crystal].cpu()).double()  # (M, 3)
    home = layer.crystals.position[first:last].detach().double().cpu()
    position = home.unsqueeze(1) + number @ layer.crystals.lattice[crystal].double().cpu()
    distance = (position - home[atom]).square().sum(-1).sqrt()  # (n, M)
    sigma = layer.sigma[first + atom].detach().double().cpu()
    logits = -0.5 * (distance.unsqueeze(-1) / sigma).square()  # (n, M, H)
    if layer.exclude_self:
        logits[atom, (number == 0).all(1)] = -torch.inf
    weight = layer.weights[place : place + size].detach().double().cpu()
    return ImageWeights(
        atom,
        torch.arange(size).repeat_interleave(len(number)),
        position.flatten(0, 1),
        distance.flatten(),
        (weight.unsqueeze(1) * logits.softmax(1)).flatten(0, 1),
        sigma,
    )


def shell_profile(layer: CrystalWeights, step: float = 0.5, farthest: float = 10.0) -> ShellProfile:
    r"""Sums attention by distance, image by image, and takes the mean over all atoms.

    .. math::
        w_{d h} = \frac 1 N \sum_i \sum_{j n : \lfloor r_{ij}(n) / s \rfloor = d} w_{ijh}(n)

    Args:
        layer: What a layer attended to, see ``weights_on_crystals``.
        step: Thickness of a shell, :math:`s`, in Å.
        farthest: Distances from the last whole step up to this on count as one, in Å.

    Returns:
        The profile; zeros without atoms.

    Raises:
        ValueError: If a length is not positive, or a step is more than ``farthest``.
    """
    if not 0 < step <= farthest:
        raise ValueError(f"step must be positive, at most farthest, got {step} and {farthest}")
    num_shells = int(farthest / step + 1e-9)  # of 10 / 0.1, too
    total = torch.zeros(num_shells + 1, layer.weights.shape[1], dtype=torch.float64)
    sizes = layer.crystals.ptr.diff().tolist()
    for crystal, size in enumerate(sizes):
        for atom in range(size):
            seen = image_weights(layer, atom, crystal)
            shell = (seen.distance / step).long().clamp(max=num_shells)
            total.index_add_(0, shell, seen.weight)
    return ShellProfile(step, total / max(1, sum(sizes)))
