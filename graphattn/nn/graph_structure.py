"""The structure that a layer on a graph is given, as an edge list or made already."""

import torch
from torch import Tensor

from graphattn.edge_list import EdgeList
from graphattn.edges import Edges
from graphattn.nn.elements import check_floating
from graphattn.structure_memory import edges_of


def structure(edge_index: Tensor | Edges, x: Tensor) -> Edges | EdgeList:
    """The structure among the rows of ``x``, remembered from call to call; an ``Edges`` as it is.

    Inside ``torch.compile`` it is an ``EdgeList``, of which operators make a structure.

    Args:
        edge_index: ``(2, E)``, integer, or an ``Edges``.
        x: Features of the nodes, ``(N, ...)``.

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``edge_index`` no integer tensor.
        ValueError: If a shape does not fit, or an ``Edges`` runs between two sets of nodes.
        IndexError: If ``edge_index`` names a node that is not there.
    """
    check_floating("x", x)
    if isinstance(edge_index, Edges):
        check_one_set("edge_index", edge_index)
        return edge_index
    if torch.compiler.is_compiling():
        return EdgeList([edge_index], x.shape[0], x.shape[0])
    return edges_of(edge_index, x.shape[0], x.shape[0])


def check_one_set(name: str, edges: Edges | EdgeList) -> None:
    """Refuses edges whose sources and targets are not the same nodes, with a ValueError."""
    if edges.num_sources != edges.num_targets:
        raise ValueError(
            f"{name} must be among one set of nodes, got {edges.num_sources} sources and"
            f" {edges.num_targets} targets"
        )
