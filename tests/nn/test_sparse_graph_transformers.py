"""SAN, GRIT and Exphormer: the official ones, their limits, and bad input."""

from pathlib import Path
from typing import Any

import pytest
import torch
from drop_in_graphs import bipartite_edges
from graph_transformer_golden import names, put
from official import TOLERANCES, Named, Stored
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Edges
from graphattn.nn.graph_transformers import grit_layer, san_layer
from graphattn.nn.graph_transformers.exphormer_layer import ExphormerLayer
from graphattn.nn.graph_transformers.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.graph_transformers.grit_layer import GRITLayer
from graphattn.nn.graph_transformers.postnorm_update import PostnormUpdate
from graphattn.nn.graph_transformers.san_layer import SANLayer

CHANNELS, HEADS = 16, 4


@pytest.fixture
def plain_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in (grit_layer, san_layer):
        monkeypatch.setattr(layer.attend, "backend", "reference")


def of_update(official: Named) -> Named:
    """Names of layers that have one stream only."""
    ours = names()(official)
    return {name.replace("node_update", "update"): x for name, x in ours.items()}


def in_layer(official: Named) -> Named:
    """Likewise, for maps that belong to the layer itself."""
    return {name.removeprefix("attention."): x for name, x in of_update(official).items()}


def official_san(settings: dict[str, Any]) -> SANLayer:
    return SANLayer(
        settings["dim"], settings["num_heads"], settings["gamma"], bias=settings["use_bias"]
    )


def check_san(stored: Stored) -> None:
    layer = official_san(stored.settings)
    put(stored, layer, in_layer)
    h, e, edge_index, real = (stored.inputs[name] for name in ("h", "e", "edge_index", "real"))
    assert 0 < real.sum() < len(real)
    stored.check(layer, {"out": layer(h, edge_index, e, real > 0)}, in_layer)


@pytest.mark.usefixtures("plain_definition")
@pytest.mark.parametrize("case", ["layer_0_h4_full", "layer_1_h2_full"])
def test_san_is_the_official_one(case: str, golden_folder: Path) -> None:
    check_san(Stored(golden_folder / f"san/{case}.npz", torch.float64))


def test_san_is_the_official_one_when_compiled(golden_folder: Path) -> None:
    check_san(Stored(golden_folder / "san/layer_0_h4_full.npz", torch.float32))


class SparseSAN(nn.Module):
    """SAN on the edges of the graph alone, of the parts that it then consists of."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = GraphTransformerAttention(channels, heads, channels, clamp=5.0)
        self.update = PostnormUpdate(channels)

    def forward(self, h: Tensor, e: Tensor, edge_index: Tensor) -> Tensor:
        attended = self.attention(h, Edges.from_edge_index(edge_index, len(h)), e)
        updated: Tensor = self.update(h, attended)
        return updated


def test_san_without_added_edges_is_a_graph_transformer(golden_folder: Path) -> None:
    stored = Stored(golden_folder / "san/layer_2_h4_sparse.npz", torch.float64)
    layer = SparseSAN(stored.settings["dim"], stored.settings["num_heads"])
    put(stored, layer, of_update)
    h, e, edge_index = (stored.inputs[name] for name in ("h", "e", "edge_index"))
    stored.check(layer, {"out": layer(h, e, edge_index)}, of_update)


def test_sans_gamma_of_zero_leaves_added_edges_out() -> None:
    layer = SANLayer(CHANNELS, HEADS, gamma=0.0).eval()
    x, edge_index, edge_attr = torch.randn(6, 16), bipartite_edges(6, 6, 24), torch.randn(24, 16)
    is_real = torch.arange(24) % 2 == 0
    out = layer(x, edge_index, edge_attr, is_real)
    real = (edge_index[:, is_real], edge_attr[is_real], torch.ones(12, dtype=torch.bool))
    assert_close(out, layer(x, *real), atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(out.sum(), layer.lin_other_key.weight)
    assert not gradient.any()


def grit_names(official: Named) -> Named:
    ours = {
        name.replace("edge_update.attended_norm", "edge_update.norm"): x
        for name, x in names(
            ("attention.", ""),
            ("deg_coef", "degree_factors"),
            ("Aw", "vector"),
            ("VeRow", "pair_map"),
        )(official).items()
    }
    if "vector" in ours:
        ours["vector"] = ours["vector"].squeeze(-1).t()
        ours["pair_map"] = ours["pair_map"].transpose(0, 1)
    if "degree_factors" in ours:
        ours["degree_factors"] = ours["degree_factors"][0].t()
    return ours


def check_grit(stored: Stored) -> None:
    settings, inputs = stored.settings, stored.inputs
    layer = GRITLayer(
        settings["dim"],
        settings["num_heads"],
        settings["clamp"],
        settings["deg_scaler"],
        settings["update_e"],
    )

    def translated(official: Named) -> Named:
        ours = grit_names(official)
        if settings["update_e"]:
            return ours
        # Theirs has the parts of an update even where there is none.
        return {name: x for name, x in ours.items() if not name.startswith("edge_update")}

    put(stored, layer, translated)
    x, edge_attr = inputs["x"], inputs["edge_attr"]
    out, edges = layer(x, inputs["edge_index"], edge_attr, inputs["deg"])
    outputs = {"out": out, "edge_out": edges}
    stored.check(layer, outputs, translated)


@pytest.mark.usefixtures("plain_definition")
@pytest.mark.parametrize("case", ["layer_0_h4", "layer_1_h2", "layer_2_h3"])
def test_grit_is_the_official_one(case: str, golden_folder: Path) -> None:
    check_grit(Stored(golden_folder / f"grit/{case}.npz", torch.float64))


# The derivative of a root near zero magnifies what was rounded: plain PyTorch is as far off.
OF_A_ROOT = 1e-4


def test_grit_is_the_official_one_when_compiled(
    golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, torch.float32, OF_A_ROOT)
    check_grit(Stored(golden_folder / "grit/layer_0_h4.npz", torch.float32))


def test_grits_root_has_a_derivative_at_zero() -> None:
    layer = GRITLayer(CHANNELS, HEADS, scales_by_degree=False)
    with torch.no_grad():
        layer.lin_edge.weight.zero_()
        layer.lin_edge.bias.zero_()
    x = torch.randn(6, CHANNELS, requires_grad=True)
    edge_attr = torch.randn(12, CHANNELS, requires_grad=True)
    out, edges = layer(x, bipartite_edges(6, 6, 12), edge_attr)
    (out.square().sum() + edges.square().sum()).backward()
    for tensor in (x, edge_attr, *layer.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def without_output_map(official: Named) -> Named:
    """Names of Exphormer's layer, which has an output map that it never uses."""
    ours = of_update(official)
    return {name: x for name, x in ours.items() if "lin_out" not in name}


def test_exphormer_is_the_official_one(golden_folder: Path) -> None:
    stored = Stored(golden_folder / "exphormer/layer_2_h4.npz", torch.float64)
    settings, inputs = stored.settings, stored.inputs
    layer = ExphormerLayer(settings["dim"], settings["num_heads"], settings["dim_edge"])
    put(stored, layer, without_output_map)
    out = layer(inputs["x"], inputs["expander_edge_index"], inputs["expander_edge_attr"])
    stored.check(layer, {"out": out}, without_output_map)


@pytest.mark.parametrize("case", ["attn_0_h4", "attn_1_h2_virt"])
def test_exphormers_attention_is_the_official_one(case: str, golden_folder: Path) -> None:
    stored = Stored(golden_folder / f"exphormer/{case}.npz", torch.float64)
    settings, inputs = stored.settings, stored.inputs
    attention = GraphTransformerAttention(
        *(settings[name] for name in ("dim", "num_heads", "dim_edge")),
        clamp=5.0,
        bias=settings["use_bias"],
    )
    put(stored, attention, names())
    x, index = inputs["x"], inputs["expander_edge_index"]
    edge_attr, size = inputs["expander_edge_attr"], len(x)
    if settings["use_virt_nodes"]:  # further rows of nodes, with edges of their own
        x = torch.cat([x, inputs["virt_h"]])
        index = torch.cat([index, inputs["virt_edge_index"]], dim=1)
        edge_attr = torch.cat([edge_attr, inputs["virt_edge_attr"]])
    out = attention(x, Edges.from_edge_index(index, len(x)), edge_attr)
    outputs = {"out": out[:size]} | ({"virt_out": out[size:]} if len(out) > size else {})
    stored.check(attention, outputs, names())


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(3, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("kind", [SANLayer, GRITLayer, ExphormerLayer])
def test_small_graphs_are_defined(kind: Any, num_nodes: int, num_edges: int) -> None:
    layer = kind(CHANNELS, HEADS, **({"edge_dim": 16} if kind is ExphormerLayer else {})).eval()
    more = {
        SANLayer: [torch.ones(num_edges, dtype=torch.bool)],
        GRITLayer: [torch.zeros(num_nodes)],
        ExphormerLayer: [],
    }[kind]
    x = torch.randn(num_nodes, CHANNELS, requires_grad=True)
    out = layer(x, bipartite_edges(1, 1, num_edges), torch.randn(num_edges, CHANNELS), *more)
    nodes = out[0] if isinstance(out, tuple) else out
    nodes.sum().backward()
    assert x.grad is not None
    assert nodes.isfinite().all()
    assert x.grad.isfinite().all()


def test_bad_input_is_named() -> None:
    x, edge_index, edge_attr = torch.randn(6, 16), bipartite_edges(6, 6, 12), torch.randn(12, 16)
    san, grit = SANLayer(CHANNELS, HEADS), GRITLayer(CHANNELS, HEADS)
    with pytest.raises(TypeError, match=r"is_real must be a bool tensor, got torch\.int64"):
        san(x, edge_index, edge_attr, torch.ones(12).long())
    with pytest.raises(ValueError, match=r"is_real must be \(12,\), got \(11,\)"):
        san(x, edge_index, edge_attr, torch.ones(11, dtype=torch.bool))
    with pytest.raises(ValueError, match="gamma must be a number and not negative, got -1"):
        SANLayer(CHANNELS, HEADS, gamma=-1)
    with pytest.raises(ValueError, match="degree must be given"):
        grit(x, edge_index, edge_attr)
    with pytest.raises(ValueError, match=r"degree must be a tensor \(6,\), got \(5,\)"):
        grit(x, edge_index, edge_attr, torch.ones(5))
    for layer, more in ((san, torch.ones(12, dtype=torch.bool)), (grit, torch.ones(6))):
        with pytest.raises(ValueError, match=r"x must be \(6, 16\), got \(6, 15\)"):
            layer(x[:, 1:], edge_index, edge_attr, more)
        with pytest.raises(ValueError, match=r"edge_attr must be \(12, 16\), got \(12, 3\)"):
            layer(x, edge_index, edge_attr[:, :3], more)
    for kind in (SANLayer, GRITLayer):
        with pytest.raises(ValueError, match="heads must divide channels = 16, got 3"):
            kind(CHANNELS, 3)
