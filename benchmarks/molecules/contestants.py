"""A training step on molecules, with the example's loss and optimizer."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch

from benchmarks.molecules.cases import MoleculeCase
from benchmarks.molecules.networks import build

WARM = 2  # steps before those that are timed
CHECKED = 2  # batches that contestants must agree about


class TrainingStep:
    """A contestant that takes a step on each of its batches, one after another."""

    def __init__(self, case: MoleculeCase, batches: Sequence[Batch], peer: str) -> None:
        self.case, self.peer = case, peer
        # Copies of its own, so that no contestant finds warm what another one has read.
        self.batches = [batch.clone() for batch in batches]
        self.taken = 0
        self.network = build(case.layer, peer, case.recipe)
        self.adam = torch.optim.Adam(
            self.network.parameters(),
            lr=case.recipe.learning_rate,
            weight_decay=case.recipe.weight_decay,
        )

    def step(self) -> tuple[float, float]:
        """Seconds of a forward pass, and of the whole step, on a batch not seen before."""
        batch = self.batches[self.taken]
        self.taken += 1
        start = time.perf_counter()
        loss = _loss(self.network, batch)
        middle = time.perf_counter()
        self.adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.adam.step()
        return middle - start, time.perf_counter() - start

    def checksum(self) -> list[float]:
        """Of losses and gradients without dropout, whose random numbers are each one's own."""
        recipe = replace(self.case.recipe, dropout=0.0)
        network = build(self.case.layer, self.peer, recipe)
        sums = []
        for batch in self.batches[:CHECKED]:
            # A copy, so that no structure is known when the step comes.
            loss = _loss(network, batch.clone())
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            sums += [_total(loss), sum(_total(gradient) for gradient in gradients)]
        return sums


def from_plain(plain: dict[str, Any], peer: str) -> TrainingStep:
    """A contestant of two steps in a process that was told of the case in JSON."""
    case = MoleculeCase.from_plain(plain)
    return TrainingStep(case, case.batches(2), peer)


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    return F.binary_cross_entropy_with_logits(network(batch), batch.y)


def _total(tensor: Tensor) -> float:
    return float(tensor.detach().double().abs().sum())
