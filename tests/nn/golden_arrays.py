"""Stored results of official code: read, and compared with what a layer of ours gives."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}


class Golden:
    """One stored case, its names of parameters turned into ours by ``rename``."""

    def __init__(self, path: Path, dtype: torch.dtype, rename: Callable[[str], str]) -> None:
        self.dtype, self.rename = dtype, rename
        with np.load(path) as arrays:
            self.arrays = {name: array for name, array in arrays.items() if name != "cfg"}
        self.inputs = self.part("in")
        for tensor in self.inputs.values():
            tensor.requires_grad_(tensor.is_floating_point())

    def part(self, prefix: str) -> dict[str, Tensor]:
        tensors = {
            name.removeprefix(f"{prefix}."): torch.from_numpy(array)
            for name, array in self.arrays.items()
            if name.startswith(f"{prefix}.")
        }
        return {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in tensors.items()}

    def load(self, layer: nn.Module, left_out: Iterable[str] = ()) -> nn.Module:
        """The layer with the stored parameters, all of them but those that ours needs not have."""
        state = {self.rename(n): t for n, t in (self.part("param") | self.part("buffer")).items()}
        layer = layer.to(self.dtype).eval()
        layer.load_state_dict({name: t for name, t in state.items() if name not in set(left_out)})
        return layer

    def check(self, layer: nn.Module, **outputs: Tensor) -> None:
        """Values, and gradients of every input and parameter, are the official ones."""
        expected, cotangents = self.part("out"), self.part("cot")
        assert expected.keys() == outputs.keys()
        for name, output in outputs.items():
            self.compare(name, output, expected[name])
        sum((outputs[name] * cotangents[name]).sum() for name in cotangents).backward()
        for name, gradient in self.part("grad_in").items():
            self.compare(f"gradient of {name}", self.inputs[name].grad, gradient)
        parameters = dict(layer.named_parameters())
        gradients = self.part("grad_param")
        assert {self.rename(name) for name in gradients} == parameters.keys()
        for name, gradient in gradients.items():
            found = parameters[self.rename(name)].grad
            self.compare(f"gradient of {name}", found, gradient.view_as(found))

    def compare(self, name: str, actual: Any, expected: Tensor) -> None:
        """Equal up to a part of the largest element."""
        tolerance = TOLERANCES[self.dtype] * max(1.0, float(expected.detach().abs().max()))
        torch.testing.assert_close(
            actual, expected, rtol=0, atol=tolerance, msg=lambda text: f"{name}: {text}"
        )
