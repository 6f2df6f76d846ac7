"""The graph transformer: attention of nodes over their neighbours, layer upon layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from graphattn.models.graph_inputs import GraphInputs
from graphattn.nn.graph_transformers.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.graph_transformers.graph_transformer_layer import GraphTransformerLayer


@dataclass(frozen=True)
class GraphTransformerForm:
    """What the layers of a graph transformer compute; see ``GraphTransformerLayer``.

    Attributes:
        clamp: Logits are clamped to plus and minus this; None is the softmax of the paper.
        norm: Makes a norm of a width.
        dropout: Probability with which a feature is set to zero in training.
    """

    clamp: float | None = None
    norm: Callable[[int], nn.Module] = nn.BatchNorm1d
    dropout: float = 0.0


PAPER = GraphTransformerForm()
OFFICIAL_CODE = GraphTransformerForm(clamp=5.0)


class LastGraphTransformerLayer(GraphTransformerLayer):
    """A layer that reads features of edges and leaves them: behind the last, nobody reads them.

    Args:
        channels: See ``GraphTransformerLayer``.
        heads: Likewise.
        form: What it computes.

    Shapes: see ``GraphTransformerLayer``; the output is that of the nodes alone.

    Raises:
        ValueError: If ``heads`` does not divide ``channels``, or a shape does not fit.
    """

    def __init__(self, channels: int, heads: int, form: GraphTransformerForm) -> None:
        super().__init__(channels, heads, False, form.clamp, form.norm, form.dropout)
        self.attention = GraphTransformerAttention(channels, heads, channels, form.clamp)


class GraphTransformer(nn.Module):
    """Layers of attention over edges, whose features they update where there are any.

    On the edges of the graph it is the sparse form of the paper; on all pairs of its nodes, as
    ``graphattn.structures.complete_edges`` makes them, the full one.

    Args:
        inputs: What is read of a batch: nodes, and edges if there is to be an edge stream.
        readout: From nodes ``(N, channels)`` and the ``Blocks`` of the graphs to answers, such as
            ``GraphReadout``.
        channels: Width of nodes and edges.
        heads: Number of heads; divides ``channels``.
        num_layers: Number of layers.
        form: What the layers compute: ``PAPER``, ``OFFICIAL_CODE``, or another one.

    Shapes:
        - batch: what ``inputs`` reads, a ``Batch`` of PyG or one ``Data``
        - output: what ``readout`` gives, such as ``(G, out_channels)``

    Raises:
        ValueError: If ``heads`` does not divide ``channels``, there is no layer, or a shape does
            not fit.

    Source: Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs", AAAI workshop
        2021. The last layer does not update edges; the official code does, to no effect.
    """

    def __init__(
        self,
        inputs: GraphInputs,
        readout: nn.Module,
        channels: int,
        heads: int = 8,
        num_layers: int = 10,
        form: GraphTransformerForm = PAPER,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        has_edges, options = inputs.has_edges, (form.clamp, form.norm, form.dropout)
        self.inputs, self.readout = inputs, readout
        self.layers = nn.ModuleList(
            GraphTransformerLayer(channels, heads, has_edges, *options)
            for _ in range(num_layers - has_edges)
        )
        if has_edges:
            self.layers.append(LastGraphTransformerLayer(channels, heads, form))

    def forward(self, batch: Any) -> Tensor:
        """Reads graphs; see the class for shapes."""
        x, edge_index, edge_attr, blocks = self.inputs(batch)
        for layer in self.layers:
            out = layer(x, edge_index, edge_attr)
            x, edge_attr = out if isinstance(out, tuple) else (out, edge_attr)
        answer: Tensor = self.readout(x, blocks)
        return answer
