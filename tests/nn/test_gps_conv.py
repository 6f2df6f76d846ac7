"""GPSConv: PyTorch Geometric's, the authors', graphs of unequal size, and bad input."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.nn
from drop_in_graphs import bipartite_edges
from graph_transformer_golden import put
from official import Named, Stored, plain_in_double, renamed
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn import (
    GATv2Conv,
)
from graphattn.nn.convolutions import gated_gcn_layer
from graphattn.nn.convolutions.gated_gcn_layer import GatedGCNLayer
from graphattn.nn.graph_transformers.gps_conv import GPSConv

SIZES = [5, 1, 0, 30, 4]
EQUAL = [6, 6, 6]

# Each with what is hard about it.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several heads": {"heads": 4},
    "a norm that knows graphs": {"heads": 4, "norm": "graph_norm"},
    "a layer norm": {"heads": 4, "norm": "layer_norm", "norm_kwargs": {"mode": "node"}},
    "no norm": {"heads": 4, "norm": None},
    "another activation": {"heads": 4, "act": "leaky_relu", "act_kwargs": {"negative_slope": 0.3}},
    "no bias": {"heads": 4, "attn_kwargs": {"bias": False}},
    "one more key": {"heads": 4, "attn_kwargs": {"add_bias_kv": True}},
    "a key of zeros": {"heads": 4, "attn_kwargs": {"add_zero_attn": True}},
    "both": {"heads": 4, "attn_kwargs": {"add_bias_kv": True, "add_zero_attn": True}},
}
PERFORMERS: dict[str, dict[str, Any]] = {
    "performer": {"heads": 4, "attn_type": "performer"},
    "performer with options": {
        "heads": 2,
        "attn_type": "performer",
        "attn_kwargs": {"head_channels": 8, "kernel": nn.Softplus(), "qkv_bias": True},
    },
}


def batch_of(sizes: list[int]) -> Tensor:
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def graphs(sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes, edges inside of graphs, and the graph of each node."""
    starts = torch.tensor([0, *sizes]).cumsum(0)
    edges = [
        start + bipartite_edges(size, size, 3 * size)
        for start, size in zip(starts.tolist(), sizes, strict=False)
        if size
    ]
    return torch.randn(int(starts[-1]), 16), torch.cat(edges, dim=1), batch_of(sizes)


def both(conv: Any = None, **options: Any) -> tuple[nn.Module, nn.Module]:
    """PyTorch Geometric's layer and ours, of the same parameters, none of them as it began."""
    theirs = torch_geometric.nn.GPSConv(16, conv and conv(), **options)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = GPSConv(16, conv and conv(), **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def assert_equal(theirs: nn.Module, ours: nn.Module, sizes: list[int]) -> None:
    x, edge_index, batch = graphs(sizes)
    cotangent, results = torch.randn_like(x), []
    for layer in (theirs, ours):
        x = x.clone().requires_grad_()
        out = layer(x, edge_index, batch)
        wanted = [x, *layer.parameters()]
        gradients = torch.autograd.grad((out * cotangent).sum(), wanted, allow_unused=True)
        results.append((out, *gradients))
    for actual, expected in zip(*reversed(results), strict=True):
        assert (actual is None) == (expected is None)
        if expected is not None:
            bound = 1e-5 * max(1.0, expected.abs().max().item())
            assert_close(actual, expected, atol=bound, rtol=0.0)


@pytest.mark.parametrize("option", OPTIONS)
def test_it_is_pygs_layer(option: str) -> None:
    theirs, ours = both(lambda: GATv2Conv(16, 16), **OPTIONS[option])
    assert repr(ours) == repr(theirs)
    assert_equal(theirs.eval(), ours.eval(), SIZES)


@pytest.mark.parametrize("option", PERFORMERS)
def test_the_performer_is_pygs_where_nothing_is_padded(option: str) -> None:
    theirs, ours = both(None, **PERFORMERS[option])
    assert_equal(theirs.eval(), ours.eval(), EQUAL)


@pytest.mark.parametrize("option", ["several heads", "a norm that knows graphs"])
def test_training_without_dropout_is_pygs(option: str) -> None:
    theirs, ours = both(lambda: GATv2Conv(16, 16), **OPTIONS[option])
    assert_equal(theirs.train(), ours.train(), SIZES)


def test_features_are_dropped_where_pygs_are() -> None:
    layer = GPSConv(8, None, dropout=0.25, norm=None)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.attn.out_proj.bias.fill_(1.0)  # what attention gives, before dropout
        layer.mlp[0].bias.fill_(1.0)
        layer.mlp[3].weight[:, :8] = torch.eye(8)  # and the perceptron, before its second
    x = torch.zeros(5_000, 8)
    attended = layer._finished(
        None, x, layer._attended(x, Blocks.from_ptr(torch.tensor([0, 5_000]))), None
    )
    assert attended.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (attended > 0).double().mean().item() == pytest.approx(0.75, abs=0.01)
    inside = layer.mlp(x)
    assert inside.unique().tolist() == pytest.approx([0.0, 16 / 9])
    assert (inside > 0).double().mean().item() == pytest.approx(0.75**2, abs=0.01)
    assert layer.eval().mlp(x).unique().tolist() == [1.0]


def test_weights_are_dropped_with_the_probability_that_was_said() -> None:
    attention = GPSConv(16, None, norm=None, attn_kwargs={"dropout": 0.25})
    x = torch.randn(400, 16)
    with torch.no_grad():
        attention.attn.in_proj_weight.zero_()  # all weights are equal
        attention.attn.in_proj_bias[32:] = 1.0  # and all values are one
        attention.attn.out_proj.weight.copy_(torch.eye(16))
        sums = attention._attended(x, Blocks.from_ptr(torch.tensor([0, 400])))[:, 0]
    # The mean of 400 weights that are 1 / 0.75 with probability 0.75.
    assert sums.mean().item() == pytest.approx(1.0, abs=0.01)
    assert sums.std().item() == pytest.approx((0.25 / 0.75 / 400) ** 0.5, rel=0.2)


@pytest.mark.parametrize("option", ["plain", "a norm that knows graphs", "both"])
def test_blocks_stand_for_the_graphs(option: str) -> None:
    layer = GPSConv(16, None, **OPTIONS[option]).eval()
    x, edge_index, batch = graphs(SIZES)
    expected = layer(x, edge_index, batch)
    assert_close(layer(x, edge_index, Blocks.from_batch(batch)), expected)
    assert_close(layer(x, edge_index), layer(x, edge_index, torch.zeros_like(batch)))


@pytest.mark.parametrize("options", [*OPTIONS.values(), *PERFORMERS.values()], ids=str)
def test_a_graph_gives_the_same_alone_beside_others_and_in_any_order(options: Any) -> None:
    layer = GPSConv(16, None, **options).eval()
    x, _, batch = graphs(SIZES)
    together = layer(x, torch.empty(2, 0, dtype=torch.int64), batch)
    for own, expected in zip(x.split(SIZES), together.split(SIZES), strict=True):
        order = torch.randperm(len(own))
        alone = layer(own[order], torch.empty(2, 0, dtype=torch.int64))
        assert_close(alone, expected[order], atol=1e-5, rtol=1e-5)


def of_the_authors(settings: dict[str, Any]) -> GPSConv:
    channels, norms = settings["dim_h"], {"bn": "batch_norm", "ln": "layer_norm"}
    maps = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
    convs = {"GINE": torch_geometric.nn.GINEConv(maps), "CustomGatedGCN": GatedGCNLayer(channels)}
    conv, norm = convs[settings["local_gnn_type"]], norms[settings["norm"]]
    return GPSConv(channels, conv, heads=settings["num_heads"], norm=norm)


def as_ours(official: Named) -> Named:
    """Their names as ours, but that norms are not yet in the wrapper that PyG has for some."""
    return renamed(
        ("norm2.", "norm3."), ("norm1_local.", "norm1."), ("norm1_attn.", "norm2."),
        ("local_model.", "conv."), ("self_attn.", "attn."),
        ("ff_linear1.", "mlp.0."), ("ff_linear2.", "mlp.3."),
        ("in_proj_", "in-proj_"),  # which is one matrix here too
        ("conv.A.", "conv.lin_self."), ("conv.B.", "conv.lin_value."),
        ("conv.C.", "conv.lin_edge."), ("conv.D.", "conv.lin_target."),
        ("conv.E.", "conv.lin_source."),
        ("bn_node_x.", "node_norm."), ("bn_edge_e.", "edge_norm."),
    )(official)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("layer_0_CustomGatedGCN_Transformer_bn", torch.float64),
        ("layer_1_GINE_Transformer_bn", torch.float64),
        ("layer_2_GINE_Transformer_ln", torch.float64),
        ("layer_0_CustomGatedGCN_Transformer_bn", torch.float32),  # compiled
    ],
    ids=str,
)
def test_it_is_the_authors_layer(
    case: str, dtype: torch.dtype, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain_in_double(dtype, monkeypatch) == torch.float64:
        monkeypatch.setattr(gated_gcn_layer.attend, "backend", "reference")
    stored = Stored(golden_folder / f"graphgps/{case}.npz", dtype)
    layer = of_the_authors(stored.settings)

    def translated(official: Named) -> Named:
        ours = {name.replace("in-proj", "in_proj"): x for name, x in as_ours(official).items()}
        if stored.settings["norm"] == "ln":
            return ours
        return {re.sub(r"^(norm\d)\.", r"\1.module.", name): x for name, x in ours.items()}

    put(stored, layer, translated)
    out = layer(**stored.inputs)
    outputs = dict(
        zip(("out", "edge_out"), out if isinstance(out, tuple) else (out,), strict=False)
    )
    stored.check(layer, outputs, translated)


def test_hooks_of_the_attention_are_called() -> None:
    layer, calls = GPSConv(16, None).eval(), []
    x, edge_index, batch = graphs(SIZES)
    expected = layer(x, edge_index, batch)
    layer.attn.register_forward_hook(lambda *_: calls.append(1))
    for given in (batch, Blocks.from_batch(batch)):
        assert_close(layer(x, edge_index, given), expected, atol=1e-5, rtol=1e-5)
    assert calls == [1, 1]


# Dynamo looks at it behind a break of its graph.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("attn_type", ["multihead", "performer"])
def test_compiled_it_gives_the_same(attn_type: str) -> None:
    layer = GPSConv(16, None, heads=4, attn_type=attn_type).eval()
    compiled: Any = torch.compile(layer, backend="aot_eager")
    x, edge_index, batch = graphs(SIZES)
    x.requires_grad_()
    results = []
    for run in (layer, compiled):
        out = run(x, edge_index, batch)
        results.append((out, *torch.autograd.grad(out.square().sum(), x)))
    assert_close(*results)


@pytest.mark.parametrize("options", [*OPTIONS.values(), *PERFORMERS.values()], ids=str)
def test_no_nodes_give_no_rows(options: Any) -> None:
    layer, empty = GPSConv(16, None, **options), torch.empty(0, dtype=torch.int64)
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    for batch in (
        empty,
        None,
        Blocks.from_ptr(torch.tensor([0])),
        Blocks.from_batch(empty, None, 2),
    ):
        assert layer(torch.empty(0, 16), empty.expand(2, 0), batch).shape == (0, 16)
    assert all(torch.equal(x, before[name]) for name, x in layer.state_dict().items())


@pytest.mark.parametrize("option", ["plain", "a norm that knows graphs", "both"])
def test_an_int32_batch_is_taken_as_pyg_takes_it(option: str) -> None:
    theirs, ours = (layer.eval() for layer in both(None, **OPTIONS[option]))
    x, edge_index, batch = graphs(SIZES)
    assert_close(ours(x, edge_index, batch.int()), ours(x, edge_index, batch))
    if option == "plain":  # its norms of graphs want int64
        assert_close(ours(x, edge_index, batch.int()), theirs(x, edge_index, batch.int()))


def test_bad_input_is_named() -> None:
    layer = GPSConv(16, None)
    x, edge_index, batch = graphs(EQUAL)
    with pytest.raises(ValueError, match=r"x must be \(18, 16\), got \(18, 15\)"):
        layer(x[:, 1:], edge_index, batch)
    with pytest.raises(ValueError, match=r"x must be \(17, 16\), got \(18, 16\)"):
        layer(x, edge_index, batch[1:])
    with pytest.raises(ValueError, match="sort the elements by their set first"):
        layer(x, edge_index, batch.flip(0))
    with pytest.raises(TypeError, match="batch must be an int64 tensor"):
        layer(x, edge_index, batch.short())
    with pytest.raises(TypeError, match="x must be a floating-point tensor"):
        layer(x.long(), edge_index, batch)
    with pytest.raises(ValueError, match="bigbird is not supported"):
        GPSConv(16, None, attn_type="bigbird")


def test_a_convolution_that_returns_more_than_nodes_and_edges_is_refused() -> None:
    layer = GPSConv(8, torch_geometric.nn.GATConv(8, 8), heads=2)
    with pytest.raises(TypeError, match="conv must return nodes, or nodes and edges, as tensors"):
        layer(torch.randn(3, 8), torch.tensor([[0, 1], [1, 2]]), return_attention_weights=True)


def test_backward_hooks_on_the_attention_are_called() -> None:
    layer, called = GPSConv(8, None, heads=2, norm=None), []
    layer.attn.register_full_backward_hook(lambda *given: called.append(len(given)))
    x = torch.randn(3, 8, requires_grad=True)
    layer(x, torch.tensor([[0, 1], [1, 2]])).sum().backward()
    assert called == [3]
