"""Lists of edges as they come: whether their ends are in range, and without self-loops."""

from graphattn.kernels.edge_list.op import check_indices, copy_edges, drop_loops

__all__ = ["check_indices", "copy_edges", "drop_loops"]
