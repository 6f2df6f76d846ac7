"""Pictures: learning curves, and attention drawn on molecules, on points and in bags.

A picture is a matplotlib figure that belongs to no window: ``figure.savefig("picture.png")`` writes
it, and a notebook shows it. The backend the user has chosen stays as it is.
"""

from graphattn.plot.figures import learning_curve, new_figure
from graphattn.plot.molecules import attention_on_molecules
from graphattn.plot.sets import attention_in_bags, attention_on_points

__all__ = [
    "attention_in_bags",
    "attention_on_molecules",
    "attention_on_points",
    "learning_curve",
    "new_figure",
]
