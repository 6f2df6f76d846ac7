"""Sum, mean, least and largest value of runs of consecutive rows."""

from graphattn.kernels.segment_reduce.op import segment_reduce

__all__ = ["segment_reduce"]
