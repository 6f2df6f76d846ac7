"""The graph transformer layer: the official one, memory, its limits, and bad input."""

from pathlib import Path
from typing import Any

import pytest
import torch
from drop_in_graphs import bipartite_edges
from graph_transformer_golden import names, put
from official import Stored
from sizes import LargestTensor
from torch import nn
from torch.testing import assert_close

from graphattn import Edges
from graphattn.nn.graph_transformers.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.graph_transformers.graph_transformer_layer import GraphTransformerLayer

NODE_NAMES = (
    ("O.", "O_h."), ("norm1.", "norm1_h."), ("norm2.", "norm2_h."), ("FFN_", "FFN_h_"),
)  # fmt: skip
CASES = ["edge_5_h4", "edge_6_h8", "edge_7_h4_zeroindeg", "edge_9_h4_clamped"]
CASES += ["node_0_h4_dupedges", "node_1_h8"]


def official(stored: Stored) -> tuple[GraphTransformerLayer, Any]:
    """The layer with the stored parameters, and how their names became ours."""
    settings = stored.settings
    channels, heads = settings["in_dim"], settings["num_heads"]
    has_edges = "edge" in settings["cls"]
    norm = nn.LayerNorm if settings["layer_norm"] else nn.BatchNorm1d
    layer = GraphTransformerLayer(channels, heads, has_edges, clamp=5.0, norm=norm)
    if settings["use_bias"]:
        edge_dim = channels if has_edges else None
        layer.attention = GraphTransformerAttention(
            channels, heads, edge_dim, clamp=5.0, bias=True, return_edges=has_edges
        )
    translated = names() if has_edges else names(*NODE_NAMES)
    put(stored, layer, translated)
    return layer, translated


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        *((case, torch.float64) for case in CASES),
        ("edge_9_h4_clamped", torch.float32),  # compiled
        ("node_0_h4_dupedges", torch.float32),
    ],
    ids=str,
)
def test_the_layer_is_the_official_one(case: str, dtype: torch.dtype, golden_folder: Path) -> None:
    stored = Stored(golden_folder / f"graph_transformer/{case}.npz", dtype)
    layer, translated = official(stored)
    h, edge_index = stored.inputs["h"], stored.inputs["edge_index"]
    if layer.edge_update is None:
        outputs = {"out": layer(h, edge_index)}
    else:
        nodes, edges = layer(h, edge_index, stored.inputs["e"])
        outputs = {"out": nodes, "e_out": edges}
        _, scores = layer.attention(h, Edges.from_edge_index(edge_index), stored.inputs["e"])
        logits = scores.unflatten(1, (layer.attention.heads, -1)).sum(-1)
        stored.assert_near(logits.clamp(-5, 5).exp(), stored.part("out")["score"], "score")
    stored.check(layer, outputs, translated)


def test_parallel_edges_have_weights_of_their_own(golden_folder: Path) -> None:
    stored = Stored(golden_folder / "graph_transformer/edge_11_h4_dupedges.npz", torch.float64)
    layer, translated = official(stored)
    h, edge_index, e = (stored.inputs[name] for name in ("h", "edge_index", "e"))
    # The official code sums every copy with the weight of the first: as if it had its features.
    is_same = (edge_index[:, :, None] == edge_index[:, None]).all(0)
    first = is_same.long().argmax(1)
    assert not torch.equal(first, torch.arange(len(e)))
    outputs = {"out": layer(h, edge_index, e[first])[0], "e_out": layer(h, edge_index, e)[1]}
    stored.check(layer, outputs, translated)


def test_a_node_without_incoming_edges_is_finite(golden_folder: Path) -> None:
    stored = Stored(golden_folder / "graph_transformer/node_3_h4_zeroindeg.npz", torch.float64)
    layer, _ = official(stored)
    out, expected = layer(stored.inputs["h"], stored.inputs["edge_index"]), stored.part("out")
    is_defined = expected["out"].isfinite().all(1)
    assert not is_defined.all()
    stored.assert_near(out[is_defined], expected["out"][is_defined], "out")
    alone = stored.inputs["h"][~is_defined]
    assert_close(out[~is_defined], layer.node_update(alone, torch.zeros_like(alone)))


def test_without_an_edge_stream_nothing_is_as_large_as_edges_times_channels() -> None:
    layer = GraphTransformerLayer(32, 4, edge_stream=False, clamp=5.0)
    num_edges = 5_000
    edges = Edges.from_edge_index(torch.randint(20, (2, num_edges)), 20)
    x = torch.randn(20, 32, requires_grad=True)
    layer(x, edges).sum().backward()  # sorts the edges
    with LargestTensor() as largest:
        layer(x, edges).sum().backward()
    assert 0 < largest.numel <= 2 * 4 * num_edges  # weights and gradients of logits, of each head


def test_the_papers_softmax_is_that_of_unclamped_logits() -> None:
    attention = GraphTransformerAttention(16, 4, edge_dim=16)
    x, edge = 5 * torch.randn(7, 16), torch.randn(49, 16)
    everything = torch.cartesian_prod(torch.arange(7), torch.arange(7)).t()
    out = attention(x, Edges.from_edge_index(everything), edge)
    query, key, value = (
        linear(x).unflatten(1, (4, 4))
        for linear in (attention.lin_query, attention.lin_key, attention.lin_value)
    )
    factor = attention.lin_edge(edge).view(7, 7, 4, 4)  # (source, target, H, C)
    logits = torch.einsum("ihc,jhc,jihc->jih", query, key, factor) / 2
    assert logits.abs().max() > 5
    assert_close(out, torch.einsum("jih,jhc->ihc", logits.softmax(0), value).flatten(1))


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(3, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("clamp", [None, 5.0])
def test_small_graphs_are_defined(num_nodes: int, num_edges: int, clamp: float | None) -> None:
    layer = GraphTransformerLayer(16, 4, clamp=clamp).eval()
    x = torch.randn(num_nodes, 16, requires_grad=True)
    nodes, edges = layer(x, bipartite_edges(1, 1, num_edges), torch.randn(num_edges, 16))
    assert nodes.shape == (num_nodes, 16)
    assert edges.shape == (num_edges, 16)
    nodes.sum().backward()
    assert x.grad is not None
    assert nodes.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.usefixtures("fresh_compiler")
def test_it_compiles_to_one_graph() -> None:
    layer = GraphTransformerLayer(16, 4, clamp=5.0)
    compiled: Any = torch.compile(layer, backend="aot_eager", fullgraph=True)
    edge_index, edge_attr, results = bipartite_edges(6, 6, 12), torch.randn(12, 16), []
    x = torch.randn(6, 16, requires_grad=True)
    for run in (layer, compiled):
        nodes, edges = run(x, edge_index, edge_attr)
        (gradient,) = torch.autograd.grad(nodes.square().sum() + edges.square().sum(), x)
        results.append((nodes, edges, gradient))
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)


def test_dropout_is_for_training() -> None:
    layer = GraphTransformerLayer(16, 4, norm=nn.LayerNorm, dropout=0.5)
    given = torch.randn(6, 16), bipartite_edges(6, 6, 12), torch.randn(12, 16)
    assert not torch.equal(layer(*given)[0], layer(*given)[0])
    layer.eval()
    assert torch.equal(layer(*given)[0], layer(*given)[0])


def test_bad_input_is_named() -> None:
    x, edge_index, edge_attr = torch.randn(6, 16), bipartite_edges(6, 6, 12), torch.randn(12, 16)
    layer, nodes = GraphTransformerLayer(16, 4), GraphTransformerLayer(16, 4, edge_stream=False)
    with pytest.raises(ValueError, match=r"x must be \(6, 16\), got \(6, 15\)"):
        nodes(x[:, 1:], edge_index)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        nodes(x.long(), edge_index)
    with pytest.raises(ValueError, match=r"edge_attr must be \(12, 16\), got \(12, 3\)"):
        layer(x, edge_index, edge_attr[:, :3])
    with pytest.raises(ValueError, match="edge_attr must be given"):
        layer(x, edge_index)
    with pytest.raises(ValueError, match="made without edge features"):
        nodes(x, edge_index, edge_attr)
    with pytest.raises(IndexError):
        nodes(x, edge_index + 6)
    with pytest.raises(ValueError, match="heads must divide channels = 16, got 3"):
        GraphTransformerLayer(16, 3)
    with pytest.raises(ValueError, match="edge_dim must be given"):
        GraphTransformerAttention(16, 4, return_edges=True)
    with pytest.raises(TypeError, match=r"edges must be a graphattn\.Edges, got Tensor"):
        nodes.attention(x, edge_index)
    edges = Edges.from_edge_index(edge_index, 7, 6)
    with pytest.raises(
        ValueError, match="edges must be among one set of nodes, got 7 sources and 6"
    ):
        nodes.attention(x, edges)
