"""Pictures: learning curves; attention drawn on molecules, on points, in bags, by distance.

A picture is a matplotlib figure that belongs to no window: ``figure.savefig("picture.png")`` writes
it, and a notebook shows it. The backend the user has chosen stays as it is.
"""

from graphattn.plot.figures import learning_curve, new_figure
from graphattn.plot.hops import HopProfile, attention_by_distance, hop_profile
from graphattn.plot.molecules import attention_on_molecules
from graphattn.plot.runs import curves_of_runs
from graphattn.plot.sets import attention_in_bags, attention_on_points
from graphattn.plot.weights import LayerWeights, weights_of_layers

__all__ = [
    "HopProfile",
    "LayerWeights",
    "attention_by_distance",
    "attention_in_bags",
    "attention_on_molecules",
    "attention_on_points",
    "curves_of_runs",
    "hop_profile",
    "learning_curve",
    "new_figure",
    "weights_of_layers",
]
