"""Agent attention on sets: its formula, sets apart, any order, bad input."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.latents.agent_attention import AgentAttention, cluster_means
from graphattn.nn.linear.nystrom_attention import NystromAttention

C = 8


def ptr_of(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def test_agents_are_read_and_read_as_the_formula_says() -> None:
    layer = AgentAttention(C, heads=2)
    x, cluster = torch.randn(5, C), torch.tensor([1, 0, 1, 1, 0])
    blocks = Blocks.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 5]))
    q, k, v = layer.lin_qkv(x).unflatten(-1, (3, 2, 4)).permute(1, 2, 0, 3)
    agent = torch.stack([q[:, cluster == number].mean(dim=1) for number in (0, 1)], dim=1)
    read = (agent @ k.transpose(1, 2) / 2).softmax(dim=-1) @ v
    out = ((q @ agent.transpose(1, 2) / 2).softmax(dim=-1) @ read).transpose(0, 1).flatten(1)
    assert_close(layer(x, blocks, cluster), layer.lin_out(out))
    local = v.transpose(0, 1).flatten(1).roll(1, 0)
    assert_close(
        layer(x, blocks, cluster, lambda value: value.roll(1, 0)), layer.lin_out(out + local)
    )


def test_agents_of_sets_do_not_mix_and_order_does_not_matter() -> None:
    layer = AgentAttention(C, heads=2)
    sizes, agents = [4, 0, 90], [2, 1, 50]  # one with many pairs, one empty
    x = torch.randn(sum(sizes), C)
    clusters = [torch.randint(n, (size,)) for n, size in zip(agents, sizes, strict=True)]
    starts = ptr_of(agents)
    cluster = torch.cat([own + first for own, first in zip(clusters, starts, strict=False)])
    blocks = Blocks.from_ptr(starts, ptr_of(sizes))
    out = layer(x, blocks, cluster)
    for number, own in enumerate(clusters):
        part = slice(*ptr_of(sizes)[number : number + 2].tolist())
        alone = Blocks.from_ptr(ptr_of([agents[number]]), ptr_of([sizes[number]]))
        assert_close(layer(x[part], alone, own), out[part])
    order = torch.cat([torch.randperm(4), 4 + torch.randperm(90)])
    assert_close(layer(x[order], blocks, cluster[order]), out[order])


def test_means_of_clusters_are_means() -> None:
    x, cluster = torch.randn(4, 2, 3), torch.tensor([2, 0, 2, 0])
    found = cluster_means(x, cluster, 3)
    assert_close(found[0], (x[1] + x[3]) / 2)
    assert_close(found[2], (x[0] + x[2]) / 2)
    assert not found[1].any()
    assert not cluster_means(x[:0], cluster[:0], 2).any()


def test_clusters_that_are_not_there_are_named() -> None:
    x, cluster = torch.randn(4, 3), torch.tensor([2, 0, 2, 0])
    means: Any = cluster_means
    with pytest.raises(TypeError, match=r"cluster must be an int64 tensor, got torch\.int32"):
        means(x, cluster.int(), 3)
    with pytest.raises(TypeError, match="cluster must be an int64 tensor, got list"):
        means(x, [2, 0, 2, 0], 3)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        means(x.long(), cluster, 3)
    with pytest.raises(ValueError, match=r"cluster must be \(4,\), got \(3,\)"):
        means(x, cluster[1:], 3)
    with pytest.raises(
        ValueError, match=r"cluster must lie in \[0, num_clusters = 2\), got 0 to 2"
    ):
        means(x, cluster, 2)
    with pytest.raises(ValueError, match=r"in \[0, num_clusters = 3\), got -1 to 1"):
        means(x, cluster - 1, 3)
    landmarks: Any = NystromAttention(2)
    heads, blocks = torch.randn(4, 2, 4), Blocks.from_ptr(ptr_of([4]))
    with pytest.raises(TypeError, match="cluster must be an int64 tensor, got list"):
        landmarks(heads, heads, heads, blocks, [0, 1, 0, 1])


def test_an_agent_of_another_set_is_refused() -> None:
    layer, x = AgentAttention(C), torch.randn(5, C)
    blocks = Blocks.from_ptr(ptr_of([1, 1]), ptr_of([2, 3]))
    for number, own in ((1, r"cluster\[0\] .* \[0, 1\), got 1"), (9, "got 9"), (-1, "got -1")):
        with pytest.raises(ValueError, match=own):
            layer(x, blocks, torch.tensor([number, 0, 1, 1, 1]))
    with pytest.raises(ValueError, match=r"cluster\[3\] must be one of its own set, in \[1, 2\)"):
        layer(x, blocks, torch.tensor([0, 0, 1, 0, 0]))
    without_agents = Blocks.from_ptr(ptr_of([1, 0]), ptr_of([2, 3]))
    with pytest.raises(ValueError, match=r"cluster\[2\] .* in \[1, 1\), got 0"):
        layer(x, without_agents, torch.zeros(5, dtype=torch.int64))


def test_dropout_is_for_training() -> None:
    layer = AgentAttention(C, heads=2, dropout=0.5)
    x, blocks = torch.randn(6, C), Blocks.from_ptr(ptr_of([2]), ptr_of([6]))
    cluster = torch.tensor([0, 1, 0, 1, 0, 1])
    assert not torch.equal(layer(x, blocks, cluster), layer(x, blocks, cluster))
    layer.eval()
    assert torch.equal(layer(x, blocks, cluster), layer(x, blocks, cluster))


def test_bad_input_is_named() -> None:
    x, blocks = torch.randn(4, C), Blocks.from_ptr(ptr_of([1, 3]))
    agents: Any = AgentAttention(C, 2)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got Tensor"):
        agents(x, x, x)
    with pytest.raises(ValueError, match=r"x must be \(4, 8\), got \(4, 7\)"):
        agents(x[:, 1:], blocks, torch.zeros(4).long())
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        agents(x.long(), blocks, torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"cluster must be \(4,\), got \(3,\)"):
        agents(x, blocks, torch.zeros(3).long())
    with pytest.raises(TypeError, match="cluster must be an int64 tensor, got list"):
        agents(x, blocks, [0, 0, 0, 0])
    with pytest.raises(ValueError, match="heads must divide channels, got 3 and 8"):
        AgentAttention(C, 3)
