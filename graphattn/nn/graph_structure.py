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
        ValueError: If a shape does not fit.
        IndexError: If ``edge_index`` names a node that is not there.
    """
    check_floating("x", x)
    if isinstance(edge_index, Edges):
        return edge_index
    if torch.compiler.is_compiling():
        return EdgeList([edge_index], x.shape[0], x.shape[0])
    return edges_of(edge_index, x.shape[0], x.shape[0])
