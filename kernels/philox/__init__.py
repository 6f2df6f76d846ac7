"""Random numbers that are a function of a seed and a counter: nothing has to be stored."""

from graphattn.kernels.philox.reference import philox

__all__ = ["philox"]
