"""The attention sum over edges: its definition, and the operator that runs compiled kernels."""
