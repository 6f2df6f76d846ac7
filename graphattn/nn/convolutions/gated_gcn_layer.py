"""GatedGCN: message passing whose gates are weights of attention, one head for each channel."""

from collections.abc import Callable

from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements
from graphattn.nn.feature_dropout import FeatureDropout
from graphattn.nn.graph_structure import structure
from graphattn.normalizers import SigmoidSum

_EPSILON = 1e-6


def score(target_gate: Tensor, source_gate: Tensor, edge_gate: Tensor) -> Tensor:
    """The sum of what target, source and edge say, one head for each channel, ``(E, channels)``."""
    return target_gate + source_gate + edge_gate


def message(value: Tensor) -> Tensor:
    """The value as ``(E, channels, 1)``: a head has one channel."""
    return value.unsqueeze(-1)


attend = EdgeAttention(
    score,
    message,
    target=["target_gate"],
    source=["source_gate", "value"],
    edge=["edge_gate"],
    normalizer=SigmoidSum(_EPSILON),
)


class GatedGCNLayer(nn.Module):
    r"""Message passing with a gate for every edge and channel, and an edge stream.

    .. math::
        \eta_{ij} = D x_i + E x_j + C e_{ij}, \qquad
        o_i = A x_i + \frac{\sum_{j \to i} \sigma(\eta_{ij}) \odot B x_j}
        {10^{-6} + \sum_{j \to i} \sigma(\eta_{ij})}

    .. math::
        x_i' = [x_i +]\, \operatorname{ReLU}(\mathrm{Norm}(o_i)), \qquad
        e_{ij}' = [e_{ij} +]\, \operatorname{ReLU}(\mathrm{Norm}(\eta_{ij}))

    It is attention with one head for each channel; the edge stream is its logits.

    Args:
        channels: Width of the node and edge features.
        dropout: Probability with which an updated feature is set to zero in training.
        residual: Whether features are added to their update.
        norm: Makes a norm of a width.

    Shapes:
        - x: ``(N, channels)``
        - edge_index: ``(2, E)``, or the ``Edges`` made from it
        - edge_attr: ``(E, channels)``, in the order of ``edge_index``
        - output: ``(N, channels)`` and ``(E, channels)``

    Raises:
        TypeError: If features are not floating point.
        ValueError: If a shape does not fit.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Bresson and Laurent, "Residual Gated Graph ConvNets", 2017, as in the code of Dwivedi et
        al., "Benchmarking Graph Neural Networks", JMLR 2023, and of GraphGPS.
    """

    def __init__(
        self,
        channels: int,
        dropout: float = 0.0,
        residual: bool = True,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
    ) -> None:
        super().__init__()
        self.channels, self.residual = channels, residual
        self.lin_self = nn.Linear(channels, channels)
        self.lin_value = nn.Linear(channels, channels)
        self.lin_edge = nn.Linear(channels, channels)
        self.lin_target = nn.Linear(channels, channels)
        self.lin_source = nn.Linear(channels, channels)
        self.node_norm, self.edge_norm = norm(channels), norm(channels)
        self.dropout = FeatureDropout(dropout)

    def reset_parameters(self) -> None:
        """Draws the maps anew, and sets the norms to what they were at first."""
        for part in self.children():
            reset(part)

    def forward(
        self, x: Tensor, edge_index: Tensor | Edges, edge_attr: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Applies the layer; see the class for shapes."""
        edges = structure(edge_index, x)
        check_elements("x", x, edges.num_targets, self.channels)
        check_elements("edge_attr", edge_attr, edges.num_edges, self.channels)
        passed, gates = attend(
            edges,
            target_gate=self.lin_target(x),
            source_gate=self.lin_source(x),
            edge_gate=self.lin_edge(edge_attr),
            value=self.lin_value(x),
            return_logits=True,
        )
        nodes = self._updated(x, self.lin_self(x) + passed.squeeze(-1), self.node_norm)
        return nodes, self._updated(edge_attr, gates, self.edge_norm)

    def _updated(self, x: Tensor, out: Tensor, norm: nn.Module) -> Tensor:
        updated: Tensor = self.dropout(norm(out).relu())
        return x + updated if self.residual else updated

    def extra_repr(self) -> str:
        return f"{self.channels}, residual={self.residual}"
