"""Data-parallel training: two processes with half a batch each get the gradients of the whole."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, layer_pair
from drop_in_graphs import bipartite_edges
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Graph = tuple[Tensor, Tensor, Tensor]


def _graphs() -> list[Graph]:
    generator = torch.Generator().manual_seed(8)
    return [
        (
            torch.randn(6, 4, generator=generator),
            bipartite_edges(6, 6, 20 + rank),
            torch.randn(20 + rank, 2, generator=generator),
        )
        for rank in range(2)
    ]


def _joined(first: Graph, second: Graph) -> Graph:
    return (
        torch.cat([first[0], second[0]]),
        torch.cat([first[1], second[1] + first[0].shape[0]], dim=1),
        torch.cat([first[2], second[2]]),
    )


def _layers() -> list[tuple[nn.Module, nn.Module]]:
    torch.manual_seed(0)
    return [layer_pair(name, heads=2, edge_dim=2) for name in LAYERS]


def _gradients(layer: nn.Module, graph: Graph) -> dict[str, Tensor]:
    layer.zero_grad()
    layer(*graph).square().mean().backward()
    gradients = {}
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None
        gradients[name.removeprefix("module.")] = parameter.grad.clone()
    return gradients


def _train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    graph = _graphs()[rank]
    gradients: list[Any] = []
    for ours, _ in _layers():
        parallel = DistributedDataParallel(ours)
        _gradients(parallel, graph)  # the second step runs in buckets ordered by the first
        gradients.append(_gradients(parallel, graph))
    torch.save(gradients, f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    # Taking gloo down can wait for ever, now and then; what was to be tested is on disk.
    os._exit(0)


def test_two_processes_get_the_gradients_of_one_with_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(_train, args=(str(tmp_path),), nprocs=2)
    whole = _joined(*_graphs())
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for number, (ours, theirs) in enumerate(_layers()):
        for layer in (ours, theirs):
            for name, expected in _gradients(layer, whole).items():
                for rank in range(2):
                    torch.testing.assert_close(
                        found[rank][number][name], expected, rtol=1e-5, atol=1e-5
                    )
