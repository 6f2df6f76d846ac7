"""Dot-product attention inside sets of unequal size."""

from graphattn.kernels.block_attention.op import block_attention

__all__ = ["block_attention"]
