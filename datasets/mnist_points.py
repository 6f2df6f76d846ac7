"""Handwritten digits as sets of points: the dark pixels of MNIST's test images."""

import gzip
import struct

import torch
from torch import Tensor

from graphattn.datasets.files import find
from graphattn.datasets.labelled_sets import LabelledSets

ADDRESS = "https://raw.githubusercontent.com/kelas/mnist/283b387221ab46655e600cfcc25d843bb14292b9"
SHA256 = {
    "t10k-images-idx3-ubyte.gz": "167310007f03058885c7e95e6c0b19c20de5c7fd3031f4cbdadc9014a523d80b",
    "t10k-labels-idx1-ubyte.gz": "fc607395669ec21321ea83e4b82c0544b7e8e63ff5b34337c06bc0a17cc0da3c",
}


def mnist_points(threshold: float = 0.5) -> tuple[LabelledSets, LabelledSets, LabelledSets]:
    """The 10,000 test images of MNIST, each the set of its pixels that are above a threshold.

    They are 8,000 digits to train on, 1,000 to choose by and 1,000 to test, in an order drawn once:
    that of ``torch.randperm`` with a generator of seed 0. The 60,000 training images of MNIST are
    not among them, so that numbers on this split do not compare with those published for MNIST.
    With the default threshold a digit has from 19 to 258 points, 105 on average.

    Files are read from ``mnist_t10k`` of the data folder, or are downloaded (1.7 MB); see
    ``graphattn.datasets.files``.

    Args:
        threshold: Pixels with more ink than this are points, from 0 (none) to 1 (full).

    Returns:
        Digits to train on, to choose by, and to test: ``x`` ``(N, 3)``, the place of each point to
        the right and upwards, from -1 to 1 across the image of 28 by 28 pixels, and its ink, from
        the threshold to 1; ``y`` the digit. A digit without such pixels is an empty set.

    Raises:
        ValueError: If the threshold is not from 0 to 1.
        FileNotFoundError: If the files are neither there nor to be had; says what to put where.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
        Recognition", Proceedings of the IEEE 1998; files of the repository kelas/mnist, which has
        no licence file.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be from 0 to 1, got {threshold}")
    images = _read("t10k-images-idx3-ubyte.gz").float() / 255
    y = _read("t10k-labels-idx1-ubyte.gz").long()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train, validation, test = (
        _points(images[rows], y[rows], threshold) for rows in order.split([8000, 1000, 1000])
    )
    return train, validation, test


def _points(images: Tensor, y: Tensor, threshold: float) -> LabelledSets:
    """Places and ink of the dark pixels of images ``(S, 28, 28)`` with labels ``(S,)``."""
    is_dark = images > threshold
    image, row, column = is_dark.nonzero(as_tuple=True)
    middle = (images.shape[-1] - 1) / 2
    x = torch.stack([column / middle - 1, 1 - row / middle, images[image, row, column]], dim=1)
    sizes = is_dark.flatten(1).sum(1)
    return LabelledSets(x, torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), y)


def _read(name: str) -> Tensor:
    """The bytes of an IDX file, in their shape."""
    with gzip.open(find(f"mnist_t10k/{name}", f"{ADDRESS}/{name}", SHA256[name])) as file:
        content = file.read()
    num_axes = content[3]
    start = 4 + 4 * num_axes
    shape = struct.unpack(f">{num_axes}i", content[4:start])
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)
