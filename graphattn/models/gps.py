"""GPS: message passing on edges beside attention inside whole graphs, layer upon layer."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.models.graph_inputs import GraphInputs
from graphattn.nn.feature_dropout import FeatureDropout


class LocalGPSLayer(nn.Module):
    r"""What is left of a GPS layer without attention: message passing and a perceptron.

    .. math::
        a_i = \mathrm{Norm}\bigl(x_i + \mathrm{Conv}(x, e)_i\bigr), \qquad
        x_i' = \mathrm{Norm}\bigl(a_i + \mathrm{MLP}(a_i)\bigr)

    Args:
        channels: Width of the node features.
        conv: The message passing. One that returns nodes and edges, such as ``GatedGCNLayer``, is
            taken to have residuals of its own.
        dropout: Probability with which a feature is set to zero in training, after message passing
            and inside the perceptron.
        norm: Makes a norm of a width.

    Shapes: see ``graphattn.nn.GPSConv``, in whose place it stands.

    Source: Rampášek et al., "Recipe for a General, Powerful, Scalable Graph Transformer", NeurIPS
        2022, and the official code, ``global_model_type="None"``.
    """

    def __init__(
        self,
        channels: int,
        conv: nn.Module,
        dropout: float = 0.0,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
    ) -> None:
        super().__init__()
        self.conv, self.dropout = conv, FeatureDropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.ReLU(),
            FeatureDropout(dropout),
            nn.Linear(2 * channels, channels),
            FeatureDropout(dropout),
        )
        self.local_norm, self.output_norm = norm(channels), norm(channels)

    def forward(
        self, x: Tensor, edge_index: Any, batch: Tensor | Blocks | None = None, **kwargs: Any
    ) -> Any:
        """Applies the layer; what is of one graph does not matter to it."""
        passed, edge_attr = self.conv(x, edge_index, **kwargs), None
        if isinstance(passed, tuple):
            passed, edge_attr = passed
        else:
            passed = x + self.dropout(passed)
        local = self.local_norm(passed)
        out = self.output_norm(local + self.mlp(local))
        return out if edge_attr is None else (out, edge_attr)


class GPS(nn.Module):
    """Layers that join message passing on edges with attention among all nodes of a graph.

    Args:
        inputs: What is read of a batch: nodes, and edges if the layers take their features.
        readout: From nodes ``(N, channels)`` and the ``Blocks`` of the graphs to answers, such as
            ``GraphReadout``.
        layers: At least one, each ``graphattn.nn.GPSConv`` with a message passing and an attention
            of one's choice, or ``LocalGPSLayer`` for no attention. Edges that a layer returns are
            those of the next.

    Shapes:
        - batch: what ``inputs`` reads, a ``Batch`` of PyG or one ``Data``
        - output: what ``readout`` gives, such as ``(G, out_channels)``

    Raises:
        ValueError: If there is no layer, or a shape does not fit.

    Source: Rampášek et al., "Recipe for a General, Powerful, Scalable Graph Transformer", NeurIPS
        2022.
    """

    def __init__(
        self, inputs: GraphInputs, readout: nn.Module, layers: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.inputs, self.readout, self.layers = inputs, readout, nn.ModuleList(layers)
        if not self.layers:
            raise ValueError("layers must hold at least one layer, got none")

    def forward(self, batch: Any) -> Tensor:
        """Reads graphs; see the class for shapes."""
        x, edge_index, edge_attr, blocks = self.inputs(batch)
        for layer in self.layers:
            features = {} if edge_attr is None else {"edge_attr": edge_attr}
            out = layer(x, edge_index, blocks, **features)
            x, edge_attr = out if isinstance(out, tuple) else (out, edge_attr)
        answer: Tensor = self.readout(x, blocks)
        return answer
