"""What the tests of sums over lattices share: inputs, runs with gradients, stored results."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.kernels.lattice_sum.cases import SMALL, crystals

HEADS, CHANNELS, BASIS = 3, 2, 5
SPACING = 0.9
# Float32 rounds squared distances of some 100 Å², and sigma divides them by little.
TOLERANCES: dict[torch.dtype, dict[str, float]] = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
}


def inputs(case: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positions, lattices, ``ptr`` and a sigma for each atom and head."""
    position, lattice, ptr = crystals(*SMALL[case], dtype=dtype)
    return position, lattice, ptr, widths(position.shape[0], dtype)


def widths(num_atoms: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """From 0.7 to 1.5 Å, ``(N, H)``."""
    return (0.7 + 0.8 * torch.rand(num_atoms, HEADS, dtype=torch.float64)).to(dtype)


def weights(dtype: torch.dtype = torch.float64) -> Tensor:
    """Of radial functions, ``(H, C, K)``."""
    return torch.randn(HEADS, CHANNELS, BASIS, dtype=torch.float64).to(dtype)


def boxes(ptr: Tensor, *limits: int) -> Tensor:
    """The same limits for all crystals."""
    return torch.tensor([limits]).expand(len(ptr) - 1, 3)


def run(
    function: Callable[..., Tensor | tuple[Tensor, ...]], *tensors: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """Results and the gradients of all inputs, for fixed cotangents."""
    leaves = [x.detach().to(dtype).requires_grad_() for x in tensors]
    found = function(*leaves)
    results = (found,) if isinstance(found, Tensor) else found
    draw = torch.Generator().manual_seed(3)
    arriving = [torch.randn(x.shape, generator=draw, dtype=torch.float64) for x in results]
    arriving = [x.to(dtype) for x in arriving]
    # Of no atoms, the definition is no function of the positions.
    gradients = torch.autograd.grad(results, leaves, arriving, materialize_grads=True)
    return [*(x.detach() for x in results), *gradients]


@dataclass(frozen=True)
class Official:
    """A stored run of the official layer, up to what enters its sums over the lattice."""

    arrays: dict[str, Any]
    settings: dict[str, Any]
    dtype: torch.dtype

    @classmethod
    def load(cls, path: Path, dtype: torch.dtype) -> "Official":
        with np.load(path) as stored:
            arrays = dict(stored)
        settings = json.loads(str(arrays["cfg"]))
        return cls(arrays, settings, dtype)

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    @property
    def lattice(self) -> dict[str, Any]:
        own: dict[str, Any] = self.settings["lattice_params"]
        return own

    def structure(self) -> tuple[Tensor, Tensor, Tensor]:
        """Positions, lattices, ``ptr``."""
        ptr = torch.tensor([0, *self.arrays["in.sizes"].tolist()]).cumsum(0)
        position, lattice = self.tensor("in.pos"), self.tensor("in.trans_vec")
        return position.to(self.dtype), lattice.to(self.dtype), ptr

    def shape(self) -> Tensor:
        """The official ρ of the queries, ``(N, H)``; only for ``elu=0.1``, of queries."""
        assert (self.lattice["positive_func"], self.lattice["gauss_state"]) == ("elu=0.1", "q")
        heads = self.settings["num_heads"]
        query = self.tensor("in.x").double() @ self.tensor("param.q_proj_weight").double().T
        query = query + self.tensor("param.in_proj_bias").double()[: query.shape[1]]
        along = self.tensor("param.lattice_pos_weights").double().view(heads, -1)
        gamma = (query.view(len(query), heads, -1) * along).sum(-1)
        scale, shift = self.tensor("param.gauss_scale").double().tolist()
        gamma = (gamma - gamma.mean()) / gamma.std() if scale == 0 else (gamma + shift) * scale
        is_real = self.lattice["domain"] == "real"
        bound = self.lattice["gauss_lb_real" if is_real else "gauss_lb_reci"]
        rho = (1 - bound) * torch.nn.functional.elu(0.1 * gamma / (1 - bound)) + 1
        return rho.to(self.dtype)

    def basis(self) -> tuple[Tensor, float, float]:
        """Weights of the radial functions, their spacing and their width."""
        number, most = self.lattice["value_pe_dist_real"], self.lattice["value_pe_dist_max"]
        most = -most * self.lattice["scale_real"] if most < 0 else most
        weight = self.tensor("param.pe_dist_proj")[0].to(self.dtype)
        width = self.lattice["value_pe_width_scale"] * most / number
        return weight.expand(self.settings["num_heads"], -1, -1), most / number, width


def turned(dtype: torch.dtype = torch.float64) -> Tensor:
    """A rotation, ``(3, 3)``."""
    angle = torch.tensor(0.3, dtype=dtype)
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=dtype)
