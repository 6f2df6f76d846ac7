"""Reading saved weights, with errors that say what is wrong with the file and what to do."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fill a model with the weights that ``fit`` kept.

    Args:
        model: A model of the architecture that was trained; its weights are overwritten.
        path: The file, ``weights.pt``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or of another architecture: names what differs.
    """
    weights = read(Path(path))
    check_same_keys(weights, model.state_dict(), Path(path))
    model.load_state_dict(weights)


def write(weights: Mapping[str, Any], path: Path) -> None:
    """Save weights so that the file is there whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    torch.save(dict(weights), temporary)
    temporary.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Load a file of tensors and plain data; a ValueError says if it is damaged."""
    with path.open("rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
            # PyTorch's own words are left to the cause: they advise to load it unsafely.
            raise ValueError(f"{path} is damaged: delete it to start anew") from error
    return dict(content)


def check_same_keys(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Raise a ValueError that names what differs between two sets of weights."""
    complaints = [
        f"{title} {sorted(keys)}"
        for title, keys in (
            ("lacks", expected.keys() - found.keys()),
            ("has unknown", found.keys() - expected.keys()),
            (
                "has another shape for",
                {k for k in expected.keys() & found.keys() if expected[k].shape != found[k].shape},
            ),
        )
        if keys
    ]
    if complaints:
        raise ValueError(f"{path} is of another architecture: it {'; '.join(complaints)}")
