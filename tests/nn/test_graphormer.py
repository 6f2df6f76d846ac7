"""Graphormer: its encodings are the official ones, its attention is that of dense matrices."""

from pathlib import Path

import pytest
import torch
from official import TOLERANCES, Named, Stored, renamed
from sizes import LargestTensor
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch_geometric.data import Batch, Data

from graphattn import Blocks
from graphattn.encodings import (
    AddShortestPathDistances,
    AddShortestPathEdgeTypes,
    add_encodings,
)
from graphattn.nn.graph_transformers import graphormer_layer
from graphattn.nn.graph_transformers.graphormer_bias import (
    DirectEdgeBias,
    GraphormerBias,
    PathBias,
    is_token,
    with_tokens,
)
from graphattn.nn.graph_transformers.graphormer_layer import GraphormerLayer, GraphToken

SIZES = [3, 0, 1, 6]
HEADS, CHANNELS = 4, 16


def equal_sets(count: int, size: int) -> Blocks:
    return Blocks.from_ptr(torch.arange(count + 1) * size)


def sets(sizes: list[int]) -> Blocks:
    return Blocks.from_ptr(torch.tensor([0, *sizes]).cumsum(0))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(
    "case", ["attn_bias_0_multi_hop", "attn_bias_1_single", "attn_bias_2_multi_hop"]
)
def test_the_bias_is_the_official_one(case: str, dtype: torch.dtype, golden_folder: Path) -> None:
    stored = Stored(golden_folder / f"graphormer/{case}.npz", dtype)
    settings, inputs = stored.settings, stored.inputs
    heads, num_types = settings["num_heads"], settings["num_edges"] + 1
    max_hops, has_paths = settings["multi_hop_max_dist"], settings["edge_type"] == "multi_hop"
    edges = PathBias(heads, num_types, max_hops) if has_paths else DirectEdgeBias(heads, num_types)
    bias = GraphormerBias(heads, settings["num_spatial"], edges)

    def translated(official: Named) -> Named:
        ours = renamed(
            ("edge_encoder", "edges.types"), ("edge_dis_encoder.weight", "edges.hops"),
            ("spatial_pos_encoder", "distances"), ("graph_token_virtual_distance.weight", "token"),
        )(official)  # fmt: skip
        if "edges.hops" in ours:  # theirs has matrices for hops that it never reads
            ours["edges.hops"] = ours["edges.hops"].view(-1, heads, heads)[:max_hops]
        return ours

    stored.load(bias, translated)
    types = inputs["edge_input" if has_paths else "attn_edge_type"].flatten(0, 2)
    count, size, _ = inputs["spatial_pos"].shape
    found = bias(equal_sets(count, size), inputs["spatial_pos"].flatten(), types)
    dense = found.view(count, size + 1, size + 1, heads).permute(0, 3, 1, 2)
    # What is there for padding and masks: theirs adds it twice.
    out = dense + 2 * inputs["attn_bias"].detach().unsqueeze(1)
    stored.check(bias, {"out": out}, translated)


class Features(nn.Module):
    """The official features of nodes: sums of embeddings of atoms and degrees, and the token."""

    def __init__(self) -> None:
        super().__init__()
        self.atoms = nn.Embedding(11, 16, padding_idx=0)
        self.in_degree, self.out_degree = (nn.Embedding(6, 16, padding_idx=0) for _ in range(2))
        self.token = GraphToken(16)

    def forward(self, x: Tensor, in_degree: Tensor, out_degree: Tensor, blocks: Blocks) -> Tensor:
        degrees = self.in_degree(in_degree) + self.out_degree(out_degree)
        result: Tensor = self.token(self.atoms(x).sum(-2) + degrees, blocks)
        return result


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_features_of_nodes_are_the_official_ones(dtype: torch.dtype, golden_folder: Path) -> None:
    stored = Stored(golden_folder / "graphormer/node_feature_0.npz", dtype)
    names = renamed(
        ("atom_encoder", "atoms"), ("degree_encoder", "degree"),
        ("graph_token.weight", "token.token"),
    )  # fmt: skip
    features = Features()
    stored.load(features, names)
    x, *degrees = (stored.inputs[name] for name in ("x", "in_degree", "out_degree"))
    count, size, _ = x.shape
    out = features(x.flatten(0, 1), *(d.flatten() for d in degrees), equal_sets(count, size))
    stored.check(features, {"out": out.view(count, size + 1, -1)}, names)


def dense_layer(layer: GraphormerLayer, x: Tensor, bias: Tensor) -> Tensor:
    """One set ``(N, channels)`` with the bias of all its pairs, in plain PyTorch."""
    attention, normed = layer.attention, layer.norm(x)
    query, key, value = (
        linear(normed).unflatten(1, (HEADS, -1)).transpose(0, 1)
        for linear in (attention.lin_query, attention.lin_key, attention.lin_value)
    )
    mask = bias.view(len(x), len(x), HEADS).permute(2, 0, 1)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return layer.perceptron(x + attention.lin_out(out.transpose(0, 1).flatten(1)))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_a_layer_is_dense_attention_with_a_bias(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dtype == torch.float64:
        monkeypatch.setattr(graphormer_layer.attend, "backend", "reference")
    layer, blocks = GraphormerLayer(CHANNELS, HEADS).to(dtype), sets(SIZES)
    x = torch.randn(blocks.num_targets, CHANNELS, dtype=dtype, requires_grad=True)
    bias = torch.randn(blocks.num_edges, HEADS, dtype=dtype, requires_grad=True)
    parts = zip(x.split(SIZES), bias.split([size**2 for size in SIZES]), strict=True)
    expected = torch.cat([dense_layer(layer, *own) for own in parts])
    cotangent, results = torch.randn_like(expected), []
    for out in (layer(x, bias, blocks), expected):
        wanted = [x, bias, *layer.parameters()]
        results.append((out, *torch.autograd.grad((out * cotangent).sum(), wanted)))
    bound = TOLERANCES[dtype]
    for actual, wanted in zip(*results, strict=True):
        assert_close(actual, wanted, atol=10 * bound, rtol=bound)


class Network(nn.Module):
    """A whole Graphormer on graphs of given pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.token = GraphToken(CHANNELS)
        self.bias = GraphormerBias(HEADS, 6, PathBias(HEADS, 4, max_hops=3))
        self.layers = nn.ModuleList(GraphormerLayer(CHANNELS, HEADS) for _ in range(2))

    def forward(self, batch: Batch) -> Tensor:
        blocks = Blocks.from_ptr(batch.ptr)
        x, every = self.token(batch.x, blocks), with_tokens(blocks)
        bias = self.bias(blocks, batch.shortest_path_distance + 1, batch.shortest_path_edge_type)
        for layer in self.layers:
            x = layer(x, bias, every)
        return x[is_token(blocks)]


def test_a_network_reads_distances_and_types_of_edges_of_graphs() -> None:
    links = torch.tensor([[0, 1, 1, 2, 2, 3, 4, 5], [1, 0, 2, 1, 3, 2, 5, 4]])  # a path and a pair
    other = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
    graphs = [
        Data(x=torch.randn(size, CHANNELS), edge_index=index, edge_attr=torch.zeros_like(index[0]))
        for size, index in ((6, links), (1, links[:, :0]), (3, other))
    ]
    graphs[0].edge_attr[2] = 1
    graphs = add_encodings(
        graphs, [AddShortestPathDistances(), AddShortestPathEdgeTypes(3)], progress=False
    )
    network = Network()
    out = network(Batch.from_data_list(graphs))
    alone = torch.cat([network(Batch.from_data_list([graph])) for graph in graphs])
    assert_close(out, alone, atol=1e-5, rtol=1e-5)
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    graphs[0].shortest_path_edge_type[...] = 1  # another bond on every way through it
    changed = network(Batch.from_data_list(graphs))
    assert not torch.allclose(changed[0], out[0])
    assert_close(changed[1:], out[1:], atol=1e-5, rtol=1e-5)


def random_pairs(blocks: Blocks) -> tuple[Tensor, Tensor]:
    return torch.randint(9, (blocks.num_edges,)), torch.randint(7, (blocks.num_edges, 4, 2))


def test_a_graph_has_the_same_bias_alone_and_beside_others() -> None:
    blocks, squares = sets(SIZES), [size**2 for size in SIZES]
    bias = GraphormerBias(HEADS, 6, PathBias(HEADS, 7, max_hops=3))
    distance, types = random_pairs(blocks)
    together = bias(blocks, distance, types).split([(size + 1) ** 2 for size in SIZES])
    parts = zip(SIZES, distance.split(squares), types.split(squares), together, strict=True)
    for size, own_distance, own_types, expected in parts:
        assert_close(bias(sets([size]), own_distance, own_types), expected)


@pytest.mark.parametrize("edges", [None, PathBias(HEADS, 7, 3), DirectEdgeBias(HEADS, 7)])
def test_inside_transforms_derivatives_are_those_outside(
    edges: PathBias | DirectEdgeBias | None,
) -> None:
    blocks = sets(SIZES)
    distance, types = random_pairs(blocks)
    of_edges = {PathBias: types, DirectEdgeBias: types[:, 0]}
    bias = GraphormerBias(HEADS, 6, edges).double()
    given = (blocks, distance, of_edges.get(type(edges)))
    arriving = torch.randn_like(bias(*given))

    def total(scale: Tensor, weights: dict[str, Tensor]) -> Tensor:
        found: Tensor = torch.func.functional_call(bias, weights, given)
        return (scale * found * arriving).sum()

    own = {name: weight.detach() for name, weight in bias.named_parameters()}
    one = torch.ones((), dtype=torch.float64)
    expected = torch.autograd.grad((bias(*given) * arriving).sum(), list(bias.parameters()))
    found = torch.func.grad(total, argnums=1)(one, own)
    assert_close(list(found.values()), list(expected))
    _, slope = torch.func.jvp(lambda weights: total(one, weights), (own,), (own,))
    pairs = zip(own.values(), expected, strict=True)
    assert_close(slope, torch.stack([(x * gradient).sum() for x, gradient in pairs]).sum())
    # The tables take no part in the transform, but their rows are counted in it.
    assert_close(torch.func.grad(total)(one, dict(bias.named_parameters())), total(one, own))


def test_nothing_is_as_large_as_pairs_times_hops_times_heads() -> None:
    blocks, hops, heads, features = sets([30, 30]), 6, 16, 2
    bias = GraphormerBias(heads, 6, PathBias(heads, 7, hops))
    types = torch.randint(7, (blocks.num_edges, hops, features))
    with LargestTensor() as largest:
        bias(blocks, torch.randint(9, (blocks.num_edges,)), types).sum().backward()
    # The bias, or one index for the distance and each feature of a hop.
    bound = max(with_tokens(blocks).num_edges * heads, blocks.num_edges * (1 + hops * features))
    assert 0 < largest.numel <= bound


def test_tokens_come_first_and_what_is_far_shares_a_row() -> None:
    blocks = sets(SIZES)
    bias = GraphormerBias(HEADS, 6)
    every = with_tokens(blocks)
    assert every.target_sizes == [size + 1 for size in SIZES]
    token = is_token(blocks)
    assert token.nonzero().flatten().tolist() == every.target_ptr[:-1].tolist()
    pairs = bias(blocks, torch.full((blocks.num_edges,), 510))
    has_token = token[every.target] | token[every.source]
    assert torch.equal(pairs[has_token], bias.token.expand(int(has_token.sum()), -1))
    far = bias.distances.weight[-1].expand(blocks.num_edges, -1)
    assert torch.equal(pairs[~has_token], far)
    assert not bias(blocks, torch.zeros(blocks.num_edges).long())[~has_token].any()


def test_no_pairs_give_no_bias() -> None:
    bias = GraphormerBias(HEADS, 6, DirectEdgeBias(HEADS, 7))
    none = torch.empty(0, dtype=torch.int64)
    assert bias(sets([]), none, none.view(0, 1)).shape == (0, HEADS)
    assert bias(sets([0]), none, none.view(0, 1)).tolist() == bias.token.tolist()


def test_bad_input_is_named() -> None:
    blocks = sets(SIZES)
    distance, types = random_pairs(blocks)
    bias, plain = GraphormerBias(HEADS, 6, PathBias(HEADS, 7, 3)), GraphormerBias(HEADS, 6)
    with pytest.raises(ValueError, match=r"distance must be \(46,\), got \(45,\)"):
        plain(blocks, distance[1:])
    with pytest.raises(TypeError, match=r"distance must be an integer tensor, got torch\.float32"):
        plain(blocks, distance.float())
    with pytest.raises(ValueError, match="if, and only if, the bias was made with edges"):
        plain(blocks, distance, types)
    with pytest.raises(ValueError, match=r"types must be \(46, D, F\), got \(46, 4\)"):
        bias(blocks, distance, types[..., 0])
    with pytest.raises(ValueError, match=r"types must lie in \[0, 7\), got"):
        bias(blocks, distance, types + 7)
    with pytest.raises(ValueError, match="distance must not be negative, got"):
        plain(blocks, distance - 9)
    with pytest.raises(ValueError, match="keys are not the queries"):
        plain(Blocks.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 3])), distance[:6])
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got Tensor"):
        bias(distance, distance, types)
    layer, x = GraphormerLayer(CHANNELS, HEADS), torch.randn(10, CHANNELS)
    with pytest.raises(ValueError, match=r"bias must be \(46, 4\), pair by pair, got \(46, 1\)"):
        layer(x, torch.randn(46, 1), blocks)
    with pytest.raises(ValueError, match=r"x must be \(10, 16\), got \(9, 16\)"):
        GraphToken(CHANNELS)(x[1:], blocks)
    with pytest.raises(ValueError, match="num_distances must be at least 2, got 1"):
        GraphormerBias(HEADS, 1)
    with pytest.raises(ValueError, match="max_hops must be positive, got 0"):
        PathBias(HEADS, 7, 0)
