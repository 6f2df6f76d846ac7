"""Sums over lattices as operators of PyTorch: sound, compiled whole, without a C++ compiler."""

import pytest
import torch
from crystal_runs import SPACING, boxes, inputs, run, weights
from segments import without_compiler
from torch import Tensor
from torch.library import opcheck
from torch.testing import assert_close

from graphattn.kernels.lattice_sum import lattice_sum


def test_the_operators_are_sound() -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")
    leaves = [x.requires_grad_() for x in (position, lattice, sigma, weights())]
    images = boxes(ptr, 1, 1, 1).contiguous()
    form = (SPACING, SPACING, False)
    inside = (*leaves[:2], ptr, *leaves[2:], images)
    opcheck(torch.ops.graphattn.lattice_sum.default, (*inside, 4, *form))
    plain = [x.detach() for x in inside]
    results = torch.ops.graphattn.lattice_sum(*plain, 4, *form)
    arriving = [torch.randn_like(x) for x in results]
    for wants in ((True, True), (False, False), (True, False), (False, True)):
        backward = torch.ops.graphattn.lattice_sum_backward.default
        opcheck(backward, (*arriving, *results, *plain, *form, *wants))
    opcheck(torch.ops.graphattn.lattice_images.default, (*plain[:4], False))


def test_the_compiler_of_pytorch_takes_it_whole() -> None:
    position, lattice, ptr, sigma = inputs("assorted")
    num_pairs = int(ptr.diff().square().sum())

    def total(position: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        alpha, beta = lattice_sum(
            position, lattice, ptr, sigma, weight, spacing=SPACING, num_pairs=num_pairs
        )
        return alpha.sum() + beta.square().sum()

    leaves = [x.requires_grad_() for x in (position, sigma, weights())]
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(total(*leaves), leaves)
    found = torch.autograd.grad(compiled(*leaves), leaves)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


def test_without_a_compiler_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")

    def sums(position: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(2)
        return lattice_sum(position, lattice, ptr, sigma, weights(), spacing=SPACING)

    expected = run(sums, position, sigma, dtype=torch.float64)
    without_compiler(monkeypatch)
    found = run(sums, position, sigma, dtype=torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
