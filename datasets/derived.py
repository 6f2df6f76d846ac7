"""What takes long to compute from raw files, kept in the cache with the settings that made it."""

import hashlib
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.datasets.files import cache_folder


def derived(
    name: str, settings: Mapping[str, str | int], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Reads a result from the cache, or computes and keeps it.

    The file's name holds a hash of the settings, and the file the settings themselves: a result of
    other settings is never taken. It is written under a temporary name and renamed once it is
    whole, so that many processes may ask at once, and is read without running what it holds
    (``weights_only``).

    Args:
        name: What it is, such as ``"moleculenet/esol"``.
        settings: All that the result depends on: versions of programs, checksums of files.
        make: Computes the result: a dictionary of tensors, numbers, texts, and lists of them.

    Returns:
        The result.

    Raises:
        ValueError: If the file in the cache is damaged; says which.
    """
    wanted = dict(settings)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "derived" / f"{name}-{digest[:16]}.pt"
    if path.is_file():
        kept = _read(path)
        if kept["settings"] == wanted:
            return kept["result"]
    result = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save({"settings": wanted, "result": result}, file)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
    return result


# What PyTorch and pickle raise, over bytes that were never theirs too.
_UNREADABLE = (RuntimeError, OSError, EOFError, LookupError, AttributeError, ValueError, TypeError)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = torch.load(path, weights_only=True)
    except (*_UNREADABLE, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it, try again") from error
    if not isinstance(kept, dict) or set(kept) != {"settings", "result"}:
        raise ValueError(f"{path} must hold settings and a result: delete it, try again")
    return kept


def pack(graphs: Sequence[Data]) -> dict[str, Any]:
    """Puts graphs one after another, in element types as narrow as their values allow.

    Args:
        graphs: All with the same attributes: tensors, of which ``edge_index`` is joined along its
            last dimension and all others along their first, or texts.

    Returns:
        For every attribute the joined tensor and how much of it is of each graph, or the texts.
        No graphs give an empty dictionary.
    """
    packed: dict[str, Any] = {}
    for key in graphs[0].keys() if graphs else ():
        values = [graph[key] for graph in graphs]
        if isinstance(values[0], str):
            packed[key] = values
            continue
        dim = -1 if key == "edge_index" else 0
        counts = torch.tensor([value.shape[dim] for value in values])
        packed[key] = (_narrow(torch.cat(values, dim)), counts)
    return packed


def unpack(packed: Mapping[str, Any]) -> list[Data]:
    """Undoes `pack`; integers come back as int64.

    Args:
        packed: What `pack` returned.

    Returns:
        The graphs. Their tensors are views of those of all graphs: ``clone`` one before you save
        it alone.
    """
    columns = {}
    for key, value in packed.items():
        if isinstance(value, list):
            columns[key] = value
            continue
        joined, counts = value
        joined = joined if joined.is_floating_point() else joined.long()
        columns[key] = joined.split(counts.tolist(), dim=-1 if key == "edge_index" else 0)
    return [
        Data(**dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    ]


def _narrow(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point() or tensor.numel() == 0:
        return tensor
    least, most = int(tensor.min()), int(tensor.max())
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if torch.iinfo(dtype).min <= least and most <= torch.iinfo(dtype).max:
            return tensor.to(dtype)
    return tensor
