"""Agent attention on sets: its formula, sets apart, any order, bad input."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.latents.agent_attention import AgentAttention, cluster_means

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
    with pytest.raises(TypeError, match=r"cluster must be int64, got torch\.int32"):
        cluster_means(x, cluster.int(), 3)
    with pytest.raises(ValueError, match=r"cluster must be \(4,\), got \(3,\)"):
        cluster_means(x, cluster[1:], 3)


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
    with pytest.raises(ValueError, match="heads must divide channels, got 3 and 8"):
        AgentAttention(C, 3)
