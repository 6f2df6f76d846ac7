"""What all tests share: warnings are errors, fixed seeds, poisoned memory, folders of data."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

with warnings.catch_warnings():  # its import uses TorchScript, of which PyTorch warns
    warnings.simplefilter("ignore")
    import torch_geometric.nn  # noqa: F401

FILTERS = (
    "error",
    "ignore:Sparse CSR tensor support is in beta",  # said once a process, by PyTorch, of no concern
    "ignore:`torch.jit:DeprecationWarning",  # torch_geometric's own use of TorchScript
    # `poisoned_memory` turns deterministic algorithms on, which some operations on CUDA lack.
    "ignore:.*does not have a deterministic implementation",
    "ignore:Deterministic behavior was enabled",
)


def pytest_configure(config: pytest.Config) -> None:
    for line in FILTERS:
        config.addinivalue_line("filterwarnings", line)
    torch.set_num_threads(1)  # workers share the cores; tests of threading set their own number
    # PyTorch warns until this is chosen. torch_geometric marks unsorted sparse tensors as sorted
    # for a moment, so the checks cannot be on.
    torch.sparse.check_sparse_tensor_invariants.disable()


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill what `torch.empty` returns with NaN (floats) or the largest integer.

    Whoever reads an element before writing it then fails at once, and not once in a while.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


def _folder(variable: str, name: str) -> Path:
    named = os.environ.get(variable)
    if named is not None:
        if not Path(named).is_dir():
            pytest.fail(f"{variable} must name a folder, got {named!r}")
        return Path(named)
    beside = Path(__file__).resolve().parents[2] / "shared" / name
    if not beside.is_dir():
        pytest.skip(f"no {name} folder: set {variable}, or put it at ../shared/{name}")
    return beside


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Raw data sets, read-only: `$GRAPHATTN_DATA`, else `../shared/data` beside the checkout."""
    return _folder("GRAPHATTN_DATA", "data")


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Stored results of official code: `$GRAPHATTN_GOLDEN`, else `../shared/golden`."""
    return _folder("GRAPHATTN_GOLDEN", "golden")
