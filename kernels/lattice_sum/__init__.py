"""Sums over all images of an atom in a crystal, of Gaussians and of what they weigh."""

from graphattn.kernels.lattice_sum.images import image_range
from graphattn.kernels.lattice_sum.op import lattice_log_sum, lattice_sum

__all__ = ["image_range", "lattice_log_sum", "lattice_sum"]
