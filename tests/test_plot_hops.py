"""How far attention looks: profiles by hand and of graphs, and their picture."""

import numpy
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

pytest.importorskip("matplotlib")

from graphattn import Blocks, Edges
from graphattn.encodings import shortest_path_distances
from graphattn.graphs import Graphs
from graphattn.plot import HopProfile, attention_by_distance, hop_profile

CHAIN = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])  # of three nodes, and of two
PTR = torch.tensor([0, 3, 5, 6])  # and a node alone


def distances() -> tuple[Tensor, Blocks]:
    return shortest_path_distances(Graphs(CHAIN, PTR)), Blocks.from_ptr(PTR)


def test_a_profile_is_the_mean_over_nodes_of_sums_over_distances() -> None:
    distance, blocks = distances()
    weights = torch.rand(14, 2)
    profile = hop_profile(weights, distance, blocks, max_distance=3)
    expected = torch.zeros(4, 2, dtype=torch.float64)
    uniform = torch.zeros(4, dtype=torch.float64)
    sizes = [3, 3, 3, 2, 2, 1]
    for pair in range(14):
        query, steps = int(blocks.target[pair]), int(distance[pair])
        expected[steps] += weights[pair] / 6
        uniform[steps] += 1 / sizes[query] / 6
    assert_close(profile.weight, expected)
    assert_close(profile.uniform, uniform)
    assert_close(uniform, torch.tensor([9, 7, 2, 0]).double() / 18)


def test_weights_that_are_one_for_all_have_the_uniform_profile() -> None:
    distance, blocks = distances()
    same = torch.cat([torch.full((n * n,), 1 / n) for n in (3, 2, 1)])
    profile = hop_profile(same, distance, blocks)
    assert_close(profile.weight[:, 0], profile.uniform, atol=1e-7, rtol=0.0)
    assert_close(profile.weight.sum(0), torch.ones(1).double(), atol=1e-7, rtol=0.0)


def test_the_last_row_has_all_that_is_farther_or_not_connected() -> None:
    graphs = Graphs(CHAIN[:, :4], torch.tensor([0, 4]))  # the last of four nodes is alone
    distance = shortest_path_distances(graphs)
    profile = hop_profile(torch.arange(16.0), distance, graphs.blocks, max_distance=2)
    near, next_to = 0 + 5 + 10 + 15, 1 + 4 + 6 + 9
    expected = torch.tensor([near, next_to, 120 - near - next_to]).double() / 4
    assert_close(profile.weight[:, 0], expected)
    assert_close(profile.uniform, torch.tensor([4, 4, 8]).double() / 16)


def test_without_nodes_there_are_zeros() -> None:
    none = Blocks.from_ptr(torch.tensor([0, 0]))
    profile = hop_profile(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), none, 2)
    assert profile.weight.shape == (3, 3)
    assert not profile.weight.any()
    assert not profile.uniform.any()


def test_every_layer_has_a_panel_and_every_head_a_line(tmp_path) -> None:
    uniform = torch.tensor([0.5, 0.25, 0.25])
    two, one = torch.tensor([[0.8, 0.0], [0.1, 0.5], [0.1, 0.5]]), torch.tensor([[1.0], [0], [0]])
    profiles = {"layer 1": HopProfile(one, uniform), "layer 2": HopProfile(two, uniform)}
    figure = attention_by_distance({**profiles, "layer 3": profiles["layer 1"]}, quantity="weight")
    figure.savefig(tmp_path / "hops.png")
    first, second, third, empty = figure.axes
    titles = [panel.get_title() for panel in (first, second, third)]
    assert titles == ["layer 1", "layer 2", "layer 3"]
    assert not empty.lines
    shown = [numpy.asarray(line.get_ydata()).tolist() for line in second.lines]
    numpy.testing.assert_allclose(shown, two.T.tolist())
    assert [bar.get_height() for bar in second.patches] == uniform.tolist()
    assert {panel.get_ylim() for panel in (first, second, third)} == {first.get_ylim()}
    assert first.get_ylim()[0] == 0 < 1 < first.get_ylim()[1]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["head 1", "head 2", "uniform"]
    assert [label.get_text() for label in second.get_xticklabels()] == ["0", "1", "≥ 2"]
    assert (first.get_ylabel(), second.get_ylabel()) == ("weight", "")


def test_bad_profiles_are_named() -> None:
    distance, blocks = distances()
    weights = torch.rand(14, 2)
    with pytest.raises(ValueError, match=r"weights must be .* P = 14, got \(13, 2\)"):
        hop_profile(weights[1:], distance, blocks)
    with pytest.raises(ValueError, match=r"distance must be \(14,\), got \(13,\)"):
        hop_profile(weights, distance[1:], blocks)
    with pytest.raises(TypeError, match=r"distance must be an int64 tensor, got torch\.float32"):
        hop_profile(weights, distance.float(), blocks)
    with pytest.raises(ValueError, match="max_distance must not be negative, got -1"):
        hop_profile(weights, distance, blocks, -1)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got Edges"):
        hop_profile(weights, distance, Edges.from_edge_index(CHAIN, 6))
    with pytest.raises(ValueError, match="profiles must hold at least one profile, got none"):
        attention_by_distance({})
    with pytest.raises(ValueError, match="num_columns must be at least 1, got 0"):
        attention_by_distance({"a": hop_profile(weights, distance, blocks)}, num_columns=0)
