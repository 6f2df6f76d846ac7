"""GatedGCN: the official layer and network with a virtual node, its formula, and bad input."""

from pathlib import Path

import pytest
import torch
from drop_in_graphs import bipartite_edges
from graph_transformer_golden import put
from official import TOLERANCES, Stored, renamed
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.convolutions import gated_gcn_layer
from graphattn.nn.convolutions.gated_gcn_layer import GatedGCNLayer
from graphattn.nn.graph_transformers.gps_conv import GPSConv
from graphattn.nn.latents.virtual_node import VirtualNode

NAMES = renamed(
    ("A.", "lin_self."), ("B.", "lin_value."), ("C.", "lin_edge."), ("D.", "lin_target."),
    ("E.", "lin_source."), ("bn_node_x.", "node_norm."), ("bn_edge_e.", "edge_norm."),
    ("virtualnode_embedding", "start.seeds"), ("mlp_virtualnode_list.0", "nodes.0.read.0.network"),
    ("mlp_virtualnode_list.1", "nodes.1.read.0.network"), ("gnn_layers.", "layers."),
)  # fmt: skip


class Network(nn.Module):
    """Message passing with a virtual node between layers, as the official code has it."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.start = VirtualNode.start(channels)
        self.layers = nn.ModuleList(GatedGCNLayer(channels) for _ in range(depth))
        self.nodes = nn.ModuleList(VirtualNode(channels) for _ in range(depth - 1))

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor
    ) -> tuple[Tensor, Tensor]:
        blocks = Blocks.from_batch(batch)
        node, x = self.start(x, blocks)
        for number, layer in enumerate(self.layers):
            x, edge_attr = layer(x, edge_index, edge_attr)
            if number < len(self.nodes):
                node, x = self.nodes[number](x, blocks.seeds(1), node)
        return x, edge_attr


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_a_network_with_a_virtual_node_is_the_official_one(
    dtype: torch.dtype, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dtype == torch.float64:
        monkeypatch.setattr(gated_gcn_layer.attend, "backend", "reference")
    stored = Stored(golden_folder / "mpnn_vn/0_gatedgcnconv_L3.npz", dtype)
    network = Network(stored.settings["dim"], stored.settings["layers_mp"])
    put(stored, network, NAMES)
    x, edge_attr = network(**stored.inputs)
    stored.check(network, {"out": x, "edge_out": edge_attr}, NAMES)


def test_without_a_residual_an_update_is_never_negative() -> None:
    layer, added = GatedGCNLayer(16, residual=False), GatedGCNLayer(16)
    added.load_state_dict(layer.state_dict())
    x, edge_index, edge_attr = torch.randn(6, 16), bipartite_edges(6, 6, 12), torch.randn(12, 16)
    updates = layer(x, edge_index, edge_attr)
    results = added(x, edge_index, edge_attr)
    for result, update, before in zip(results, updates, (x, edge_attr), strict=True):
        assert update.min() == 0
        assert_close(result, before + update)


def test_a_node_without_incoming_edges_keeps_what_is_its_own() -> None:
    layer = GatedGCNLayer(16).eval()
    x = torch.randn(6, 16)
    out, _ = layer(x, bipartite_edges(5, 5, 12), torch.randn(12, 16))
    assert_close(out[5], x[5] + layer.node_norm(layer.lin_self(x[5:])).relu()[0])


def test_gps_can_draw_it_anew() -> None:
    layer = GPSConv(16, GatedGCNLayer(16), heads=2)
    x, edge_index, edge_attr = torch.randn(6, 16), bipartite_edges(6, 6, 12), torch.randn(12, 16)
    layer(x, edge_index, edge_attr=edge_attr)  # the norms keep means of it
    nn.init.normal_(layer.conv.edge_norm.weight)
    torch.manual_seed(7)
    fresh = GatedGCNLayer(16).state_dict()
    torch.manual_seed(7)
    layer.reset_parameters()
    for name, tensor in layer.conv.state_dict().items():
        assert torch.equal(tensor, fresh[name]), name
    layer.conv.edge_norm = nn.Identity()  # where nobody reads the edges behind it
    layer.reset_parameters()


def test_bad_input_is_named() -> None:
    x, edge_index, edge_attr = torch.randn(6, 16), bipartite_edges(6, 6, 12), torch.randn(12, 16)
    layer = GatedGCNLayer(16)
    with pytest.raises(ValueError, match=r"x must be \(6, 16\), got \(6, 15\)"):
        layer(x[:, 1:], edge_index, edge_attr)
    with pytest.raises(ValueError, match=r"edge_attr must be \(12, 16\), got \(11, 16\)"):
        layer(x, edge_index, edge_attr[1:])
    with pytest.raises(TypeError, match=r"edge_attr must be a floating-point tensor"):
        layer(x, edge_index, edge_attr.long())
    with pytest.raises(IndexError):
        layer(x, edge_index + 6, edge_attr)
