"""Kernels: plain tensors in, plain tensors out; no graphs, no modules."""
