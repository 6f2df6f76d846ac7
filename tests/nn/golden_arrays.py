"""Stored results whose names of parameters are ours but for single names."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from official import TOLERANCES, Named, Stored
from torch import Tensor, nn

__all__ = ["TOLERANCES", "Golden"]


class Golden(Stored):
    """One stored case, its names of parameters turned into ours by ``rename``."""

    def __init__(self, path: Path, dtype: torch.dtype, rename: Callable[[str], str]) -> None:
        super().__init__(path, dtype)
        self.rename = rename

    def load(self, layer: nn.Module, left_out: Iterable[str] = ()) -> nn.Module:
        """The layer with the stored parameters, all of them but those that ours needs not have."""
        state = {self.rename(n): t for n, t in (self.part("param") | self.part("buffer")).items()}
        layer = layer.to(self.dtype).eval()
        layer.load_state_dict({name: t for name, t in state.items() if name not in set(left_out)})
        return layer

    def check(self, layer: nn.Module, **outputs: Tensor) -> None:
        """Values, and gradients of every input and parameter, are the official ones."""
        assert self.part("out").keys() == outputs.keys()
        parameters = dict(layer.named_parameters())

        def translated(official: Named) -> Named:
            ours = {self.rename(name): x for name, x in official.items()}
            assert ours.keys() == parameters.keys()
            return {name: x.view_as(parameters[name]) for name, x in ours.items()}

        super().check(layer, outputs, translated)
