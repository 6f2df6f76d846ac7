"""What is timed on crystals: sums over images to their gradients, and a step of training."""

import time
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from benchmarks.crystals.cases import SUMS, WIDEST, CrystalCase
from graphattn.datasets.crystals import CrystalBatch
from graphattn.kernels.lattice_sum import lattice_sum
from graphattn.models.crystalformer import Crystalformer, CrystalformerSizes
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.lattice_terms import RadialFunctions, RealSpace, Terms

Backend = Literal["auto", "reference"]
BACKENDS: dict[str, Backend] = {"ours": "auto", "reference": "reference"}
HEADS, CHANNELS, RADIAL = 8, 16, RadialFunctions()


class Contestant(Protocol):
    """Something that can be done again and again."""

    def step(self) -> tuple[float, float]:
        """Seconds of a forward pass, and of the whole step."""

    def checksum(self) -> list[float]:
        """Of what a step gives: peers must agree. To be asked for before the first step."""


class LatticeSums:
    """Sums over images, with gradients of widths and of what weighs the radial functions."""

    def __init__(self, batch: CrystalBatch, backend: Backend) -> None:
        torch.manual_seed(0)
        num_pairs = int(batch.ptr.diff().square().sum())
        self.where = (batch.position, batch.lattice, batch.ptr)
        self.options: dict[str, Any] = {
            "spacing": RADIAL.spacing,
            "num_pairs": num_pairs,
            "backend": backend,
        }
        # As a layer chooses them: around 1.4 Å, the widest as wide as they can be.
        sigma = WIDEST * (1 + 2 * torch.rand(len(batch.numbers), HEADS)).rsqrt()
        weight = torch.randn(HEADS, CHANNELS, RADIAL.count) / RADIAL.count**0.5
        self.inputs = (sigma.requires_grad_(), weight.requires_grad_())
        self.cotangents = (
            torch.randn(num_pairs, HEADS),
            torch.randn(num_pairs, HEADS, CHANNELS),
        )

    def step(self) -> tuple[float, float]:
        start = time.perf_counter()
        results = lattice_sum(*self.where, *self.inputs, **self.options)
        middle = time.perf_counter()
        torch.autograd.grad(results, self.inputs, self.cotangents)
        return middle - start, time.perf_counter() - start

    def checksum(self) -> list[float]:
        results = lattice_sum(*self.where, *self.inputs, **self.options)
        gradients = torch.autograd.grad(results, self.inputs, self.cotangents)
        return [_total(tensor) for tensor in (*results, *gradients)]


class DefinedSums(RealSpace):
    """The same terms by their definition in plain PyTorch."""

    def forward(self, gamma: Tensor, crystals: Crystals) -> Terms:
        """Sums; see ``RealSpace`` for shapes."""
        assert self.weight is not None  # it is made with ``RADIAL``
        return lattice_sum(
            crystals.position,
            crystals.lattice,
            crystals.ptr,
            self.gaussians.sigma(gamma),
            self.weight,
            spacing=RADIAL.spacing,
            num_pairs=crystals.num_pairs,
            backend="reference",
        )


def defined_attention(sizes: CrystalformerSizes, layer: int) -> CrystalformerAttention:
    """That of the published model, with those terms."""
    terms = DefinedSums(sizes.heads, sizes.channels // sizes.heads)
    return CrystalformerAttention(sizes.channels, sizes.heads, terms)


class TrainingStep:
    """The published model, its loss, the gradients and AdamW, with the published settings."""

    def __init__(self, batch: CrystalBatch, backend: Backend) -> None:
        torch.manual_seed(0)
        # Far above the first answers, so that equal crystals do not pull against one another.
        self.target = 1 + torch.rand(batch.num_crystals, 1)
        self.model = Crystalformer()
        if backend == "reference":
            weights = self.model.state_dict()
            self.model = Crystalformer(attention=defined_attention)
            self.model.load_state_dict(weights)
        self.adamw = torch.optim.AdamW(
            self.model.parameters(), lr=5e-4, betas=(0.9, 0.98), weight_decay=1e-5
        )
        self.inputs = (batch.numbers, batch.position, batch.lattice, batch.ptr)

    def step(self) -> tuple[float, float]:
        start = time.perf_counter()
        loss = self._loss()
        middle = time.perf_counter()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adamw.step()
        self.adamw.zero_grad()
        return middle - start, time.perf_counter() - start

    def checksum(self) -> list[float]:
        loss = self._loss()
        gradients = torch.autograd.grad(loss, list(self.model.parameters()))
        return [_total(loss), sum(_total(gradient) for gradient in gradients)]

    def _loss(self) -> Tensor:
        return nn.functional.l1_loss(self.model(*self.inputs), self.target)


def start(case: CrystalCase, batch: CrystalBatch, peer: str) -> Contestant:
    """A contestant, ready for its first step."""
    kind = LatticeSums if case.layer == SUMS else TrainingStep
    return kind(batch, BACKENDS[peer])


def from_plain(plain: dict[str, Any], peer: str) -> Contestant:
    """The same in a process that was told of the case in JSON."""
    case = CrystalCase.from_plain(plain)
    return start(case, case.batch(), peer)


def _total(tensor: Tensor) -> float:
    return float(tensor.detach().double().abs().sum())
