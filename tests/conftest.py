"""What all tests share: warnings are errors, fixed seeds, poisoned memory, folders, few builds."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

with warnings.catch_warnings():  # its import uses TorchScript, of which PyTorch warns
    warnings.simplefilter("ignore")
    import torch_geometric.nn  # noqa: F401

    from graphattn.kernels.cpp.launch import Kernel

FILTERS = (
    "error",
    "ignore:Sparse CSR tensor support is in beta",  # said once a process, by PyTorch, of no concern
    "ignore:`torch.jit:DeprecationWarning",  # torch_geometric's own use of TorchScript
    # `poisoned_memory` turns deterministic algorithms on, which some operations on CUDA lack.
    "ignore:.*does not have a deterministic implementation",
    "ignore:Deterministic behavior was enabled",
)


# Of a whole run: tests of one formula share widths, types and gradients wanted. Of these, 250 are
# for the edge compiler and its drop-in layers; sets, graph transformers and crystals came later.
MOST_BUILDS = 450


class Builds:
    """Gives a run a cache of kernels, empty to begin with, and counts what is compiled into it.

    The workers of a run share it. ``$GRAPHATTN_CACHE``, if set, is taken as it is: a second run
    then compiles what changed. Kernels of tests that have caches of their own do not count.
    """

    def __init__(self, config: pytest.Config) -> None:
        environment = pytest.MonkeyPatch()
        config.add_cleanup(environment.undo)
        if not os.environ.get("GRAPHATTN_CACHE"):
            folder = tempfile.TemporaryDirectory(prefix="graphattn-tests-")
            config.add_cleanup(folder.cleanup)
            environment.setenv("GRAPHATTN_CACHE", folder.name)
        self.folder = Path(os.environ["GRAPHATTN_CACHE"], "kernels")
        self.before = self.libraries()

    def libraries(self) -> set[Path]:
        return set(self.folder.glob("*.so"))

    def count(self) -> int:
        return len(self.libraries() - self.before)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.count() > MOST_BUILDS:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        count = self.count()
        verdict = f", more than the {MOST_BUILDS} allowed" if count > MOST_BUILDS else ""
        color = {"red" if verdict else "green": True}
        terminalreporter.write_line(f"{count} kernels were compiled{verdict}", **color)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # workers inherit the environment
        config.pluginmanager.register(Builds(config), "builds")
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


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """A `torch.compile` that has seen nothing yet."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Kernel]:
    """The kernels of attention that ran, in order."""
    ran: list[Kernel] = []
    launch = Kernel.__call__

    def counted(kernel: Kernel, *arguments: Any) -> None:
        ran.append(kernel)
        launch(kernel, *arguments)

    monkeypatch.setattr(Kernel, "__call__", counted)
    return ran


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
