"""Message passing alone: the networks that graph transformers are compared with."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import GCNConv, GINEConv

from graphattn.models.graph_inputs import GraphInputs
from graphattn.nn.feature_dropout import FeatureDropout
from graphattn.nn.latents.virtual_node import VirtualNode


class MessagePassingNetwork(nn.Module):
    r"""Layers of message passing, each with batch norm, ReLU (but for the last) and dropout.

    .. math::
        x_i \leftarrow \mathrm{Dropout}\bigl(\operatorname{ReLU}(\mathrm{Norm}(
        \mathrm{Conv}(x, e)_i))\bigr)

    with a virtual node between the layers, if wanted.

    Args:
        inputs: What is read of a batch: nodes, and edges if the layers take their features.
        readout: From nodes ``(N, channels)`` and the ``Blocks`` of the graphs to answers, such as
            ``GraphReadout``.
        convs: Layers of PyG from ``channels`` to ``channels``, at least one, such as ``gin_convs``
            and ``gcn_convs`` give.
        channels: Width of the nodes.
        dropout: Probability with which a feature is set to zero in training, of a virtual node too.
        has_virtual_node: Whether graphs have one; see ``graphattn.nn.VirtualNode``.

    Shapes:
        - batch: what ``inputs`` reads, a ``Batch`` of PyG or one ``Data``
        - output: what ``readout`` gives, such as ``(G, out_channels)``

    Raises:
        ValueError: If there is no layer, or a shape does not fit. In training, a batch of a single
            graph, where there is a virtual node: a norm over graphs needs two.

    Source: the baselines of Hu et al., "Open Graph Benchmark: Datasets for Machine Learning on
        Graphs", NeurIPS 2020. There, a virtual node sums nodes before a layer, here after it, and
        each layer has its own embedding of bonds, here a linear map of one that all share.
    """

    def __init__(
        self,
        inputs: GraphInputs,
        readout: nn.Module,
        convs: Iterable[nn.Module],
        channels: int,
        dropout: float = 0.0,
        has_virtual_node: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.readout, self.dropout = inputs, readout, FeatureDropout(dropout)
        self.convs = nn.ModuleList(convs)
        if not self.convs:
            raise ValueError("convs must hold at least one layer, got none")
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in self.convs)
        self.start = VirtualNode.start(channels) if has_virtual_node else None
        self.virtual_nodes = nn.ModuleList(
            VirtualNode(channels, _of_virtual_node(channels, dropout))
            for _ in range(has_virtual_node * (len(self.convs) - 1))
        )

    def forward(self, batch: Any) -> Tensor:
        """Reads graphs; see the class for shapes."""
        x, edge_index, edge_attr, blocks = self.inputs(batch)
        edges = (edge_index,) if edge_attr is None else (edge_index, edge_attr)
        if self.start is not None:
            node, x = self.start(x, blocks)
        last = len(self.convs) - 1
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x, *edges))
            x = self.dropout(x if number == last else x.relu())
            if self.start is not None and number < last:
                node, x = self.virtual_nodes[number](x, blocks.seeds(1), node)
        answer: Tensor = self.readout(x, blocks)
        return answer


def gin_convs(channels: int, num_layers: int) -> list[nn.Module]:
    """Layers of the graph isomorphism network, which read features of edges.

    Args:
        channels: Width of nodes and edges.
        num_layers: Number of layers.

    Source: ``GINEConv`` of PyG, with the perceptron and the learned ε of OGB's baseline.
    """
    return [
        GINEConv(_perceptron(channels), train_eps=True, edge_dim=channels)
        for _ in range(num_layers)
    ]


def gcn_convs(channels: int, num_layers: int) -> list[nn.Module]:
    """Layers of the graph convolutional network, which do not read features of edges.

    Args:
        channels: Width of the nodes.
        num_layers: Number of layers.

    Source: ``GCNConv`` of PyG. OGB's baseline adds features of bonds to those of neighbours.
    """
    return [GCNConv(channels, channels) for _ in range(num_layers)]


def _perceptron(channels: int) -> nn.Sequential:
    """Two maps by way of twice the width."""
    return nn.Sequential(
        nn.Linear(channels, 2 * channels),
        nn.BatchNorm1d(2 * channels),
        nn.ReLU(),
        nn.Linear(2 * channels, channels),
    )


def _of_virtual_node(channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *_perceptron(channels), nn.BatchNorm1d(channels), nn.ReLU(), FeatureDropout(dropout)
    )
