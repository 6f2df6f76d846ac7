"""The peers' networks: PyTorch Geometric's layers, and others made of its message passing."""

from collections.abc import Iterable
from typing import Any

import torch_geometric.nn
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import MessagePassing, global_add_pool
from torch_geometric.typing import OptTensor
from torch_geometric.utils import scatter, softmax, to_dense_batch

from graphattn.models.graph_inputs import GraphInputs
from graphattn.models.graph_readout import GraphReadout
from graphattn.nn.feature_dropout import FeatureDropout
from graphattn.nn.graph_transformers.postnorm_update import PostnormUpdate


class PygNetwork(nn.Module):
    """Layers between inputs and readout, with the weights of the library's own networks.

    Embeddings, linear maps, norms and perceptrons are the same plain modules of PyTorch; sets are
    vectors of numbers, molecules are summed up by PyTorch Geometric, and features dropped by
    PyTorch.
    """

    def __init__(
        self, inputs: GraphInputs, readout: GraphReadout, layers: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.inputs, self.readout, self.layers = inputs, readout, nn.ModuleList(layers)
        for module in list(self.modules()):
            for name, part in module.named_children():
                if isinstance(part, FeatureDropout):
                    setattr(module, name, nn.Dropout(part.p))

    def forward(self, batch: Any) -> Tensor:
        x = sum(part(batch) for part in self.inputs.nodes)
        edge_attr = sum(part(batch) for part in self.inputs.edges)
        for layer in self.layers:
            out = layer(x, batch.edge_index, batch.batch, edge_attr=edge_attr)
            x, edge_attr = out if isinstance(out, tuple) else (out, edge_attr)
        answer: Tensor = self.readout.network(global_add_pool(x, batch.batch, batch.num_graphs))
        return answer


class PygGatedGCNLayer(MessagePassing):
    """GatedGCN as the authors of GraphGPS wrote it for PyTorch Geometric.

    Source: Rampášek et al., "Recipe for a General, Powerful, Scalable Graph Transformer", NeurIPS
        2022, the official code.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__(aggr="add")
        self.lin_self = nn.Linear(channels, channels)
        self.lin_value = nn.Linear(channels, channels)
        self.lin_edge = nn.Linear(channels, channels)
        self.lin_target = nn.Linear(channels, channels)
        self.lin_source = nn.Linear(channels, channels)
        self.node_norm: nn.Module = nn.BatchNorm1d(channels)
        self.edge_norm: nn.Module = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout(dropout)
        self._gates: Tensor | None = None

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        out = self.propagate(
            edge_index,
            target_gate=self.lin_target(x),
            source_gate=self.lin_source(x),
            edge_gate=self.lin_edge(edge_attr),
            value=self.lin_value(x),
        )
        gates, self._gates = self._gates, None
        x = x + self.dropout(self.node_norm(self.lin_self(x) + out).relu())
        return x, edge_attr + self.dropout(self.edge_norm(gates).relu())

    def message(
        self, target_gate_i: Tensor, source_gate_j: Tensor, edge_gate: Tensor, value_j: Tensor
    ) -> tuple[Tensor, Tensor]:
        self._gates = target_gate_i + source_gate_j + edge_gate  # (E, channels)
        weight = self._gates.sigmoid()
        return weight, weight * value_j

    def aggregate(self, inputs: tuple[Tensor, Tensor], index: Tensor, dim_size: int) -> Tensor:
        total, out = (
            scatter(part, index, dim=0, dim_size=dim_size, reduce="sum") for part in inputs
        )
        return out / (total + 1e-6)


class EdgeGPSConv(torch_geometric.nn.GPSConv):
    """PyTorch Geometric's GPS layer for a message passing that returns edges, too.

    As in GraphGPS, such a one has residuals and dropout of its own.
    """

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor, *, edge_attr: Tensor
    ) -> tuple[Tensor, Tensor]:
        nodes, edge_attr = self.conv(x, edge_index, edge_attr)
        local = self.norm1(nodes)
        dense, mask = to_dense_batch(x, batch)
        dense, _ = self.attn(dense, dense, dense, key_padding_mask=~mask, need_weights=False)
        attended = F.dropout(dense[mask], self.dropout, self.training)
        both = local + self.norm2(attended + x)
        return self.norm3(both + self.mlp(both)), edge_attr


class PygGraphTransformerAttention(MessagePassing):
    """Attention of the graph transformer, whose scores of all channels are kept for the edges."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(aggr="add", node_dim=0)
        self.heads = heads
        self.lin_query = nn.Linear(channels, channels, bias=False)
        self.lin_key = nn.Linear(channels, channels, bias=False)
        self.lin_value = nn.Linear(channels, channels, bias=False)
        self.lin_edge = nn.Linear(channels, channels, bias=False)
        self._scores: Tensor | None = None

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        inputs = {
            "query": self.lin_query(x),
            "key": self.lin_key(x),
            "value": self.lin_value(x),
            "edge": self.lin_edge(edge_attr),
        }
        by_head = {
            name: own.view(-1, self.heads, x.shape[1] // self.heads) for name, own in inputs.items()
        }
        out = self.propagate(edge_index, **by_head)
        scores, self._scores = self._scores, None
        return out.flatten(1), scores

    def message(
        self,
        query_i: Tensor,
        key_j: Tensor,
        value_j: Tensor,
        edge: Tensor,
        index: Tensor,
        ptr: OptTensor,
        size_i: int,
    ) -> Tensor:
        scores = query_i * key_j / query_i.shape[-1] ** 0.5 * edge  # (E, H, C)
        self._scores = scores.flatten(1)
        weight = softmax(scores.sum(-1), index, ptr, size_i)
        return value_j * weight.unsqueeze(-1)


class PygGraphTransformerLayer(nn.Module):
    """The graph transformer's layer around it; the last one of a network leaves the edges."""

    def __init__(self, channels: int, heads: int, dropout: float, *, is_last: bool) -> None:
        super().__init__()
        self.attention = PygGraphTransformerAttention(channels, heads)
        self.node_update = PostnormUpdate(channels, dropout=dropout)
        self.edge_update = None if is_last else PostnormUpdate(channels, dropout=dropout)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, *, edge_attr: Tensor) -> Any:
        nodes, scores = self.attention(x, edge_index, edge_attr)
        x = self.node_update(x, nodes)
        return x if self.edge_update is None else (x, self.edge_update(edge_attr, scores))
