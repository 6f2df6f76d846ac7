"""Encodings of graphs: what is computed once of a structure, and given to layers as features."""

from graphattn.encodings.laplacian import LaplacianEigenvectors, laplacian_eigenvectors
from graphattn.encodings.random_walk import (
    random_walk_probabilities,
    relative_random_walk_probabilities,
)
from graphattn.encodings.shortest_path import shortest_path_distances, shortest_path_edges
from graphattn.encodings.transforms import (
    AddLaplacianEigenvectorPE,
    AddRandomWalkPE,
    AddShortestPathDistances,
    AddShortestPathEdgeTypes,
    GraphEncoding,
    add_encodings,
)

__all__ = [
    "AddLaplacianEigenvectorPE",
    "AddRandomWalkPE",
    "AddShortestPathDistances",
    "AddShortestPathEdgeTypes",
    "GraphEncoding",
    "LaplacianEigenvectors",
    "add_encodings",
    "laplacian_eigenvectors",
    "random_walk_probabilities",
    "relative_random_walk_probabilities",
    "shortest_path_distances",
    "shortest_path_edges",
]
