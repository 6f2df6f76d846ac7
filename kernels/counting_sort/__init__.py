"""Edges grouped by the node at one of their ends, in time that grows with their number."""

from graphattn.kernels.counting_sort.op import group_edges, transpose
from graphattn.kernels.counting_sort.reference import Groups, Transposed

__all__ = ["Groups", "Transposed", "group_edges", "transpose"]
