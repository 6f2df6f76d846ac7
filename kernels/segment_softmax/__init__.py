"""Softmax over runs of consecutive rows."""

from graphattn.kernels.segment_softmax.op import segment_softmax

__all__ = ["segment_softmax"]
