"""ModelNet10: pieces of furniture as sets of voxels, in the official split."""

import zipfile
from collections.abc import Iterator
from math import prod
from typing import IO

import numpy as np
import torch
from torch import Tensor

from graphattn.datasets.files import find
from graphattn.datasets.labelled_sets import LabelledSets
from graphattn.datasets.mil import folds

ADDRESS = (
    "https://raw.githubusercontent.com/amitregmi/VoxNet-Google-Colab/"
    "2b66a4ddfac20dc6224fd2ed9b4da337525f29d6/data/modelnet10.npz"
)
SHA256 = "85fb9d01bbaa1913cde8cd385557b31e05cb179585c572298151f54f1e1373fb"
CLASSES = (
    *("bathtub", "bed", "chair", "desk", "dresser"),
    *("monitor", "night_stand", "sofa", "table", "toilet"),
)


def modelnet10() -> tuple[LabelledSets, LabelledSets, LabelledSets]:
    """Objects of ten classes, each the set of the voxels on its surface.

    ========== ======= =========
    part       objects voxels
    ========== ======= =========
    train      3585    3,868,850
    validation 399     429,217
    test       907     1,077,750
    ========== ======= =========

    Grids have 30 voxels along each axis, the third of which points upwards. An object has from 3 to
    4,424 voxels on its surface: those that it fills, but for the ones inside. Their coordinates are
    taken from their mean, over the distance of the farthest one, so that all lie in the unit ball;
    they have no unit, and objects lose their size.

    The test part is the official one. A tenth of the official training part, evenly over classes,
    is kept apart to choose by: the first of ``graphattn.datasets.mil.folds(y, 10)``. Seven grids of
    the official training part and one of the test part are empty in the file, and left out. Of what
    is left, 21 objects of the validation part and 69 of the test part are, voxel for voxel, in the
    training part too, as the official split has them.

    The file is ``modelnet10_voxel/modelnet10.npz`` of the data folder, or is downloaded (2 MB); see
    ``graphattn.datasets.files``.

    Returns:
        Objects to train on, to choose by, and to test: ``x`` ``(N, 3)``, ``y`` as in ``CLASSES``.

    Raises:
        FileNotFoundError: If the file is neither there nor to be had; says what to put where.

    Source: Wu et al., "3D ShapeNets: A Deep Representation for Volumetric Shapes", CVPR 2015, for
        academic research; the voxels are those of the repository amitregmi/VoxNet-Google-Colab,
        which has no licence file.
    """
    path = find("modelnet10_voxel/modelnet10.npz", ADDRESS, SHA256)
    with zipfile.ZipFile(path) as archive:
        seen, y = _objects(archive, "train")
        unseen, test_y = _objects(archive, "test")
    validation, *rest = folds(y, 10)
    train = torch.cat(rest).sort().values
    chosen = [
        LabelledSets.joined([seen[row] for row in rows.tolist()], y[rows])
        for rows in (train, validation)
    ]
    return chosen[0], chosen[1], LabelledSets.joined(unseen, test_y)


def _objects(archive: zipfile.ZipFile, part: str) -> tuple[list[Tensor], Tensor]:
    """Points and labels of all objects of a part that are not empty."""
    with archive.open(f"y_{part}.npy") as file:
        labels = torch.from_numpy(np.lib.format.read_array(file)).long()
    with archive.open(f"X_{part}.npy") as file:
        points = [in_unit_ball(surface(torch.from_numpy(grid))) for grid in _grids(file)]
    kept = torch.tensor([len(own) > 0 for own in points])
    return [own for own in points if len(own)], labels[kept]


def _grids(file: IO[bytes]) -> Iterator[np.ndarray]:
    """One grid after another: all of them at once would take half a gigabyte."""
    np.lib.format.read_magic(file)
    (count, *axes), _, dtype = np.lib.format.read_array_header_1_0(file)
    for _ in range(count):
        content = bytearray(file.read(prod(axes) * dtype.itemsize))
        yield np.frombuffer(content, dtype).reshape(axes)


def surface(grid: Tensor) -> Tensor:
    """The filled voxels with an empty one, or the border of the grid, on one of their six sides.

    Args:
        grid: ``(X, Y, Z)``, not zero where filled.

    Returns:
        Places in the grid, ``(n, 3)`` int64; none if none is filled.

    Raises:
        ValueError: If the grid has not three axes.
    """
    if grid.ndim != 3:
        raise ValueError(f"grid must be (X, Y, Z), got {tuple(grid.shape)}")
    # With a shell of empty voxels around the grid, what leaves it at one end comes back empty.
    shelled = torch.nn.functional.pad(grid != 0, [1] * 6)
    inside = shelled.clone()
    for axis in range(3):
        inside &= shelled.roll(1, axis) & shelled.roll(-1, axis)
    return (shelled & ~inside).nonzero() - 1


def in_unit_ball(points: Tensor) -> Tensor:
    """Points from their mean, over the distance of the farthest one.

    Args:
        points: ``(n, D)``, in any unit.

    Returns:
        ``(n, D)`` float32, without unit; zeros for a single point, none for none.
    """
    centred = points.double() - points.double().mean(0)
    farthest = centred.square().sum(1).amax().sqrt() if len(points) else centred.new_ones(())
    return (centred / farthest.where(farthest > 0, 1.0)).float()
