"""Musk1, Musk2, Elephant and Fox: bags of instances with one label a bag."""

import torch
from scipy.io import loadmat  # type: ignore[import-untyped]
from torch import Tensor

from graphattn.datasets.files import find
from graphattn.datasets.labelled_sets import LabelledSets

ADDRESS = (
    "https://raw.githubusercontent.com/jmarrietar/MILpy/"
    "79fef5dd2726e5ca32955e17ff925dae0e2a9986/data"
)
# Of instances, of the bag of each instance, and of the label of each bag.
FILES: dict[str, tuple[str, str, str]] = {
    "musk1": (
        "musk1_unscaled/X_musk_original.mat",
        "musk1_unscaled/Bag2_musk_original.mat",
        "musk1_unscaled/bagI_musk1_original.mat",
    ),
    "musk2": ("musk2_original/X.mat", "musk2_original/Bag2.mat", "musk2_original/BagI.mat"),
    "elephant": (
        "elephant_original/X.mat",
        "elephant_original/Bag2.mat",
        "elephant_original/BagI.mat",
    ),
    "fox": ("fox_original/X.mat", "fox_original/Bag2.mat", "fox_original/BagI.mat"),
}
SHA256 = {
    "musk1_unscaled/X_musk_original.mat": (
        "90a5a034c253d4986c68e0b3a052bb6b3862cdeb9585fc8a956c940f6c394af5"
    ),
    "musk1_unscaled/Bag2_musk_original.mat": (
        "48976efc65427bc4c58787da483a94a4c99801a665744eabfac8d24c9caca4f6"
    ),
    "musk1_unscaled/bagI_musk1_original.mat": (
        "1e30f51b5266806693c6152de24748ef192414c83b4a12088747da89a974c53c"
    ),
    "musk2_original/X.mat": "172610df60e81223f726515239f8c6270aaf1f8a8be5c3c52f811072bf02358f",
    "musk2_original/Bag2.mat": "824082cb9bd74745c38def5d4a427d289aba5a76d966cb07051ca0de0e8fe6fe",
    "musk2_original/BagI.mat": "e8300c17f3f995340f75a6731d739d87f3e9cc24a049cc5152b0631ebbc16dbc",
    "elephant_original/X.mat": "f0da9ceeca96a10090dd353ea5e04bcbeb6a032a04c079cde84429efb1774a66",
    "elephant_original/Bag2.mat": (
        "2f418377a5348e349a8a274f5e82db7a2f63457476cefe52e335dc661f69e8f9"
    ),
    "elephant_original/BagI.mat": (
        "ed6de6e89906cae3bd60dd55cdcbcbc38ba8846e227dcdb9e170c1b246980593"
    ),
    "fox_original/X.mat": "5a716e3b18e0b34dfd9e9a801fa9598aa7b3a9bf1b07ba769fe68fec50e3246d",
    "fox_original/Bag2.mat": "5dc4cb5186ca642b45182745be9f48fc76030f8860571b4a31809ed95d68cfdb",
    "fox_original/BagI.mat": "de2ef32606ffbd87f5fe229e5a8e3b5a590e5a638943cdd19938db7ca88c308a",
}


def mil(name: str) -> LabelledSets:
    """One benchmark of multiple-instance learning, features as they were measured.

    ======== ==== ======== ========= ========
    name     bags positive instances features
    ======== ==== ======== ========= ========
    musk1    92   47       476       166
    musk2    102  39       6598      166
    elephant 200  100      1391      230
    fox      200  100      1320      230
    ======== ==== ======== ========= ========

    A bag of Musk is a molecule, an instance one of its shapes, described by distances along rays
    (hundredths of an ångström) and the place of an oxygen atom; molecules that smell of musk are
    positive. A bag of the others is a picture, an instance one of its regions, described by colour,
    texture and shape; pictures that show the animal are positive.

    Files are read from ``mil`` of the data folder, or are downloaded; see
    ``graphattn.datasets.files``. There is no split: the field reports the mean of a tenfold
    cross-validation over bags, see ``folds``.

    Args:
        name: ``"musk1"``, ``"musk2"``, ``"elephant"`` or ``"fox"``.

    Returns:
        The bags, those of one label after those of the other.

    Raises:
        ValueError: If the name is not one of the four.
        FileNotFoundError: If the files are neither there nor to be had; says what to put where.

    Source: Dietterich, Lathrop and Lozano-Pérez, "Solving the Multiple Instance Problem with
        Axis-Parallel Rectangles", Artificial Intelligence 1997 (Musk, UCI, CC BY 4.0); Andrews,
        Tsochantaridis and Hofmann, "Support Vector Machines for Multiple-Instance Learning", NIPS
        2002 (pictures). Files of the repository jmarrietar/MILpy, which has no licence file.
    """
    if name not in FILES:
        raise ValueError(f"name must be one of {sorted(FILES)}, got {name!r}")
    parts = []
    for file, variable in zip(FILES[name], ("X", "Bag2", "bagI"), strict=True):
        path = find(f"mil/{file}", f"{ADDRESS}/{file}", SHA256[file])
        parts.append(torch.from_numpy(loadmat(path)[variable].astype("float64")))
    x, bag, y = parts
    sizes = bag.flatten().long().bincount()[1:]  # bags are counted from one, in order
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return LabelledSets(x.float(), ptr, y.flatten().long())


def folds(y: Tensor, num_folds: int = 10, seed: int = 0) -> list[Tensor]:
    """Parts for a cross-validation, each with the same share of every label as far as it goes.

    Args:
        y: Label of each bag, ``(S,)``, int64.
        num_folds: Number of parts, from 2 to ``S``.
        seed: Decides which bag falls into which part.

    Returns:
        Rows of each part, sorted; every row is in one part.

    Raises:
        ValueError: If there are fewer bags than parts, or fewer than two parts.
    """
    if not 2 <= num_folds <= len(y):
        raise ValueError(f"num_folds must be from 2 to {len(y)}, got {num_folds}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    order = order[y[order].argsort(stable=True)]  # dealt like cards, label after label
    return [order[start::num_folds].sort().values for start in range(num_folds)]
