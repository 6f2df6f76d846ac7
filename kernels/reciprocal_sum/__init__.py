"""Sums of Gaussians over the images of an atom in a crystal, by waves of the reciprocal lattice."""

from graphattn.kernels.reciprocal_sum.op import reciprocal_log_sum

__all__ = ["reciprocal_log_sum"]
