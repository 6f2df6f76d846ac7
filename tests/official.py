"""Stored results of official code: how they are read, loaded into our layers, and compared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.nn.sets import dot_product

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}

# Our names for what PyTorch and krasserm's Perceiver call the maps of an attention.
MAPS = (
    ("q_proj", "lin_query"), ("k_proj", "lin_key"), ("v_proj", "lin_value"),
    ("o_proj", "lin_out"), ("out_proj", "lin_out"),
)  # fmt: skip

Arrays = dict[str, np.ndarray[Any, Any]]
Named = dict[str, Tensor]


def load(path: Path) -> Arrays:
    """The arrays of one file."""
    with np.load(path) as arrays:
        return dict(arrays)


def part(arrays: Arrays, prefix: str, dtype: torch.dtype) -> Named:
    """Arrays whose names start with ``prefix.``, by the rest of the name."""
    found = {
        name.removeprefix(f"{prefix}."): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(f"{prefix}.")
    }
    return {n: x.to(dtype) if x.is_floating_point() else x for n, x in found.items()}


class Stored:
    """One file of stored results, its floating-point arrays in the type a test runs in."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.arrays, self.dtype = load(path), dtype
        self.settings: dict[str, Any] = json.loads(str(self.arrays["cfg"]))
        self.inputs = self.part("in")
        for x in self.inputs.values():
            x.requires_grad_(x.is_floating_point())

    def part(self, prefix: str) -> Named:
        """See the function of this name."""
        return part(self.arrays, prefix, self.dtype)

    def load(self, layer: nn.Module, translated: Callable[[Named], Named]) -> None:
        """Puts the official parameters into a layer; not one is left over on either side."""
        layer.to(self.dtype).eval()
        parameters, stored = dict(layer.named_parameters()), translated(self.part("param"))
        assert parameters.keys() == stored.keys()
        with torch.no_grad():
            for name, parameter in parameters.items():
                assert parameter.shape == stored[name].shape, name
                parameter.copy_(stored[name])

    def check(self, layer: nn.Module, outputs: Named, translated: Callable[[Named], Named]) -> None:
        """Compares outputs, and the gradients of inputs and parameters."""
        expected, cotangents = self.part("out"), self.part("cot")
        for name, output in outputs.items():
            self.assert_near(output, expected[name], name)
        sum((outputs[name] * cotangents[name]).sum() for name in cotangents).backward()
        for name, gradient in self.part("grad_in").items():
            self.assert_near(self.inputs[name].grad, gradient, f"gradient of {name}")
        gradients = translated(self.part("grad_param"))
        parameters = dict(layer.named_parameters())
        assert gradients.keys() == parameters.keys()
        for name, gradient in gradients.items():
            self.assert_near(parameters[name].grad, gradient, f"gradient of {name}")

    def assert_near(self, actual: Tensor | None, expected: Tensor, what: str) -> None:
        assert actual is not None, what
        bound = TOLERANCES[self.dtype] * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(
            actual, expected, atol=bound, rtol=0.0, msg=lambda text: f"{what}: {text}"
        )


def renamed(*replacements: tuple[str, str]) -> Callable[[Named], Named]:
    """A translation by replacing parts of names, in order; ``in_proj_*`` is cut into its three."""

    def translated(official: Named) -> Named:
        ours = {}
        for name, x in official.items():
            for old, new in replacements:
                name = name.replace(old, new)
            if "in_proj_" in name:
                for kind, chunk in zip(("query", "key", "value"), x.chunk(3), strict=True):
                    ours[name.replace("in_proj_", f"lin_{kind}.")] = chunk
            else:
                ours[name] = x
        return ours

    return translated


def plain_in_double(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Float32 is compiled; float64 is for the formula, and takes the plain definition."""
    if dtype == torch.float64:
        monkeypatch.setattr(dot_product.attend, "backend", "reference")
    return dtype


def pairs_of(mask: Tensor) -> Edges:
    """Edges from keys to the queries that may read them; ``mask`` is ``(B, N, M)``, bool."""
    batch, query, key = mask.nonzero().t()
    size, num_queries, num_keys = mask.shape
    index = torch.stack([batch * num_keys + key, batch * num_queries + query])
    return Edges.from_edge_index(index, size * num_keys, size * num_queries)
