"""Kernels compiled for GPUs that are not there, and what their code says of their speed."""
