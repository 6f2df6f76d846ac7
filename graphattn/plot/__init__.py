"""Pictures: learning curves, parity; attention on molecules, crystals, points, by distance.

A picture is a matplotlib figure that belongs to no window: ``figure.savefig("picture.png")`` or
``save_picture`` writes it, and a notebook shows it. The backend the user has chosen stays as it is.
"""

from graphattn.plot.crystal_weights import (
    CrystalWeights,
    ImageWeights,
    ShellProfile,
    image_weights,
    shell_profile,
    weights_on_crystals,
)
from graphattn.plot.crystals import attention_in_shells, attention_on_crystal
from graphattn.plot.figures import learning_curve, new_figure, save_picture
from graphattn.plot.hops import HopProfile, attention_by_distance, hop_profile
from graphattn.plot.molecules import attention_on_molecules
from graphattn.plot.parity import parity
from graphattn.plot.runs import curves_of_runs
from graphattn.plot.sets import attention_in_bags, attention_on_points
from graphattn.plot.weights import LayerWeights, weights_of_layers

__all__ = [
    "CrystalWeights",
    "HopProfile",
    "ImageWeights",
    "LayerWeights",
    "ShellProfile",
    "attention_by_distance",
    "attention_in_bags",
    "attention_in_shells",
    "attention_on_crystal",
    "attention_on_molecules",
    "attention_on_points",
    "curves_of_runs",
    "hop_profile",
    "image_weights",
    "learning_curve",
    "new_figure",
    "parity",
    "save_picture",
    "shell_profile",
    "weights_of_layers",
    "weights_on_crystals",
]
