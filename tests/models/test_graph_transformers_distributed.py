"""Two processes with half a batch of graphs each get the gradients of one with the whole batch."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_networks import ENCODINGS, NETWORKS, batch, gps, graph_transformer, graphs, loss
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Data

# In training a batch norm takes the statistics of its process alone; a layer norm has none.
TRAINED = {
    "GraphTransformer": lambda x: graph_transformer(x, norm=nn.LayerNorm),
    "GPS": lambda x: gps(x, norm="layer_norm", norm_kwargs={"mode": "node"}),
    "GPS, Performer": lambda x: gps(
        x, "performer", norm="layer_norm", norm_kwargs={"mode": "node"}
    ),
}


def _networks() -> list[nn.Module]:
    torch.manual_seed(0)
    trained = [make(ENCODINGS["none"]()) for make in TRAINED.values()]
    return trained + [make(ENCODINGS["random walks"]()).eval() for make in NETWORKS.values()]


def _halves() -> list[list[Data]]:
    some = graphs()[:6]
    return [some[:3], some[3:]]


def _gradients(network: nn.Module, given: list[Data]) -> dict[str, Tensor]:
    network.zero_grad()
    loss(network, batch(given)).backward()
    gradients = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        gradients[name.removeprefix("module.")] = parameter.grad.clone()
    return gradients


def _train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    own = _halves()[rank]
    gradients: list[Any] = []
    for network in _networks():
        parallel = DistributedDataParallel(network)
        _gradients(parallel, own)  # the second step runs in buckets ordered by the first
        gradients.append(_gradients(parallel, own))
    torch.save(gradients, f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    # Taking gloo down can wait for ever, now and then; what was to be tested is on disk.
    os._exit(0)


def test_two_processes_get_the_gradients_of_one_with_the_joined_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(_train, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    first, second = _halves()
    for number, network in enumerate(_networks()):
        for name, expected in _gradients(network, first + second).items():
            for rank in range(2):
                bound = 1e-5 * max(1.0, float(expected.abs().max()))
                torch.testing.assert_close(
                    found[rank][number][name], expected, rtol=1e-5, atol=bound
                )
