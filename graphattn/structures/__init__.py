"""Structures: builders of edges, and of nothing else. Joined with ``torch.cat(..., dim=1)``."""

from graphattn.structures.complete import complete_edges
from graphattn.structures.expander import expander_edges
from graphattn.structures.hops import hop_edges
from graphattn.structures.nearest import nearest_edges
from graphattn.structures.random_edges import random_edges

__all__ = ["complete_edges", "expander_edges", "hop_edges", "nearest_edges", "random_edges"]
