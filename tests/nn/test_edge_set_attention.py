"""Edge-set attention: the official one, which edges meet, and bad input."""

from pathlib import Path

import pytest
import torch
from drop_in_graphs import GRAPHS, bipartite_edges
from official import TOLERANCES, Stored, pairs_of, plain_in_double, renamed
from torch import nn
from torch.testing import assert_close

from graphattn import Blocks, Edges
from graphattn.nn.graph_transformers.edge_set_attention import EdgeSetAttention, edges_sharing_nodes

NAMES = renamed(
    ("mab.", "attention."), ("fc_q", "lin_query"), ("fc_k", "lin_key"), ("fc_v", "lin_value"),
    ("fc_o", "lin_out"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("masked_sab_0_edge", torch.float64),
        ("masked_sab_1_node", torch.float64),
        ("masked_sab_2_edge", torch.float64),
        ("masked_sab_0_edge", torch.float32),  # compiled
    ],
    ids=str,
)
def test_it_is_the_official_one_over_pairs(
    case: str, dtype: torch.dtype, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_in_double(dtype, monkeypatch)
    stored = Stored(golden_folder / f"edge_set_attention/{case}.npz", dtype)
    settings, x = stored.settings, stored.inputs["x"]
    channels = settings["dim_in"]
    attention = EdgeSetAttention(channels, channels, settings["dim_out"], settings["num_heads"])
    layer = nn.ModuleDict({"attention": attention})
    stored.load(layer, NAMES)
    allow = stored.inputs["allow"].bool()
    # With no pair allowed, theirs takes them all: it adds one large number to every logit.
    pairs = pairs_of(allow | ~allow.any(-1, keepdim=True))
    out = attention(x.flatten(0, 1), x.flatten(0, 1), pairs)
    stored.check(layer, {"out": out.unflatten(0, x.shape[:2])}, NAMES)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_pooling_by_learned_seeds_is_the_official_one(
    dtype: torch.dtype, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_in_double(dtype, monkeypatch)
    stored = Stored(golden_folder / "edge_set_attention/pma_0.npz", dtype)
    settings, x = stored.settings, stored.inputs["x"]
    channels, count = settings["dim"], settings["num_seeds"]
    layer = nn.Module()
    layer.attention = EdgeSetAttention(channels, channels, channels, settings["num_heads"])
    layer.S = nn.Parameter(torch.empty(1, count, channels))
    stored.load(layer, NAMES)
    blocks = Blocks.from_ptr(torch.arange(len(x) + 1) * x.shape[1])
    seeds = layer.S.expand(len(x), -1, -1).flatten(0, 1)
    out = layer.attention(seeds, x.flatten(0, 1), blocks.seeds(count))
    stored.check(layer, {"out": out.view(len(x), count, -1)}, NAMES)


@pytest.mark.parametrize("case", ["masked_sab_0_edge", "masked_sab_2_edge"])
def test_edges_meet_as_the_official_mask_says(case: str, golden_folder: Path) -> None:
    stored = Stored(golden_folder / f"edge_set_attention/{case}.npz", torch.float64)
    edge_index, allow = stored.inputs["edge_index"], stored.inputs["allow"].bool()
    graph = stored.inputs["batch"][edge_index[0]]
    first = torch.searchsorted(graph, torch.arange(len(allow)))
    own = torch.arange(len(graph)) - first[graph]  # the place of an edge in its graph
    meeting = edges_sharing_nodes(Edges.from_edge_index(edge_index))
    found = torch.zeros_like(allow)
    found[graph[meeting.target], own[meeting.target], own[meeting.source]] = True
    assert torch.equal(found, allow)
    assert meeting.num_edges == int(allow.sum())  # and each once


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_that_share_a_node_meet(name: str) -> None:
    num_nodes, edge_index = GRAPHS[name]()
    meeting = edges_sharing_nodes(Edges.from_edge_index(edge_index, num_nodes))
    ends = [set(pair) for pair in edge_index.t().tolist()]
    expected = {
        (a, b) for a in range(len(ends)) for b in range(len(ends)) if a != b and ends[a] & ends[b]
    }
    pairs = list(zip(meeting.source.tolist(), meeting.target.tolist(), strict=True))
    assert set(pairs) == expected
    assert len(pairs) == len(expected)
    assert meeting.num_sources == meeting.num_targets == edge_index.shape[1]


def test_an_edge_alone_is_finite() -> None:
    attention = EdgeSetAttention(16, 16, 16, heads=4)
    x = torch.randn(2, 16, requires_grad=True)
    apart = edges_sharing_nodes(Edges.from_edge_index(torch.tensor([[0, 2], [1, 3]])))
    out = attention(x, x, apart)
    out.sum().backward()
    assert_close(out, nn.functional.mish(attention.lin_out.bias).expand(2, -1))
    assert x.grad is not None
    assert not x.grad.any()


def test_bad_input_is_named() -> None:
    attention, x = EdgeSetAttention(16, 8, 16, heads=4), torch.randn(6, 16)
    blocks = Blocks.from_ptr(torch.tensor([0, 6]))
    with pytest.raises(ValueError, match=r"y must be \(6, 8\), got \(6, 16\)"):
        attention(x, x, blocks)
    with pytest.raises(ValueError, match=r"x must be \(6, 16\), got \(5, 16\)"):
        attention(x[1:], x[:, :8], blocks)
    with pytest.raises(TypeError, match="structure must be Blocks or Edges, got Tensor"):
        attention(x, x[:, :8], x)
    with pytest.raises(ValueError, match="heads must divide channels = 16, got 3"):
        EdgeSetAttention(16, 16, 16, heads=3)
    with pytest.raises(TypeError, match=r"edges must be a graphattn\.Edges, got Tensor"):
        edges_sharing_nodes(bipartite_edges(3, 3, 4))
    with pytest.raises(ValueError, match="edges must be among one set of nodes, got 4 sources"):
        edges_sharing_nodes(Edges.from_edge_index(bipartite_edges(4, 3, 6), 4, 3))
