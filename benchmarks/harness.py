"""Times contestants in turn, A B C A B C, each in the worker of its environment."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from benchmarks.cases import Case
from benchmarks.peers import MISSING, PEERS, WITHOUT_EDGE_FEATURES
from benchmarks.sets.cases import SetCase

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-3  # of checksums, between peers that sum in different orders
# Larger pieces of memory then go back to the system as soon as they are freed, so that what the
# warm-up left behind does not hide what a step needs.
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Environment:
    """How to start the workers of one environment.

    Attributes:
        python: The interpreter.
        variables: What is added to the environment variables.
        flags: What is added to the command line.
    """

    python: str
    variables: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def environments(scatter: Path | None, dgl: Path | None) -> dict[str, Environment]:
    """The environments there are.

    Args:
        scatter: Folder that torch-scatter is installed in.
        dgl: Interpreter of an environment with DGL.
    """
    found = {"main": Environment(sys.executable, flags=("--hide-torch-scatter",))}
    if scatter is not None:
        found["scatter"] = Environment(sys.executable, {"PYTHONPATH": str(scatter.resolve())})
    if dgl is not None:
        # Not resolved: the interpreter of a virtual environment is a link.
        found["dgl"] = Environment(str(dgl.absolute()), {"DGLBACKEND": "pytorch"})
    return found


class Worker:
    """A process that runs contestants when it is told to; a context manager that ends it."""

    def __init__(
        self, environment: Environment, threads: int, variables: Mapping[str, str] | None = None
    ) -> None:
        command = [environment.python, "-m", "benchmarks.worker", str(threads), *environment.flags]
        # Warnings of peers, of deprecated parts of PyTorch mostly, say nothing of time.
        own = {**os.environ, "PYTHONWARNINGS": "ignore", **environment.variables}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**own, **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._requests = cast(IO[str], self.process.stdin)  # pipes, so never None
        self._answers = cast(IO[str], self.process.stdout)

    def ask(self, do: str, **arguments: Any) -> Any:
        """The answer to one request.

        Raises:
            RuntimeError: If the worker failed; carries its traceback.
        """
        print(json.dumps({"do": do, **arguments}), file=self._requests, flush=True)
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"a worker ended with status {self.process.wait()} while at {do}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"a worker failed at {do} of {arguments}:\n{answer['error']}")
        return answer["answer"]

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.communicate()  # the end of its input ends it


class Harness:
    """All workers of one run; a context manager."""

    def __init__(self, environments: Mapping[str, Environment], threads: int) -> None:
        self.environments, self.threads = environments, threads
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> "Harness":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            worker.__exit__(kind, error, trace)

    def worker(self, name: str) -> Worker:
        """The worker of an environment, started when first asked for."""
        if name not in self._workers:
            self._workers[name] = Worker(self.environments[name], self.threads)
        return self._workers[name]

    def describe(self) -> dict[str, Any]:
        """Versions and threads of every worker that ran."""
        return {name: worker.ask("describe") for name, worker in self._workers.items()}

    def contestants(
        self, case: Case | SetCase, peers: Sequence[str] | None
    ) -> list[tuple[str, str]]:
        """Layers and peers of a case, as far as their environments are there."""
        wanted = [peer for peer in case.peers if peers is None or peer in peers]
        return [
            (layer, peer)
            for layer in case.layers
            for peer in wanted
            if PEERS[peer].environment in self.environments
            and layer not in MISSING.get(peer, ())
            and not (case.edge_channels and peer in WITHOUT_EDGE_FEATURES)
        ]

    def measure(
        self,
        case: Case | SetCase,
        peers: Sequence[str] | None = None,
        rounds: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> list[dict[str, Any]]:
        """Times the contestants of a case in turn.

        Args:
            case: The shape.
            peers: Whom to time, of the case's peers; all if not given.
            rounds: Iterations of each; the case's own number if not given.
            say: Told what goes on.

        Returns:
            For each contestant, plain data: ``case``, ``layer``, ``peer``, ``forward`` and
            ``training`` (seconds of every iteration), ``checksum``, ``warm_up`` (seconds) and
            ``peak`` (bytes, or None).

        Raises:
            RuntimeError: If contestants disagree about the result, or one fails.
        """
        results: dict[tuple[str, str], dict[str, Any]] = {}
        contestants = self.contestants(case, peers)
        with tempfile.TemporaryDirectory() as folder:
            paths = {layer: str(Path(folder) / f"{layer}.pt") for layer in case.layers}
            for layer, path in paths.items():
                self.worker("main").ask("weights", case=case.plain(), layer=layer, path=path)
            for layer, peer in contestants:
                given = {"case": case.plain(), "layer": layer, "peer": peer, "path": paths[layer]}
                made = self._of(peer).ask("prepare", **given)
                say(f"{case.name}: {layer} of {peer} is ready after {made['seconds']:.1f} s")
                results[layer, peer] = unmeasured(
                    case.plain(), layer, peer, made["checksum"], warm_up=made["seconds"]
                )
            check_agreement(list(results.values()))
            for _ in range(rounds or case.rounds):
                for (layer, peer), result in results.items():
                    forward, training = self._of(peer).ask("iterate", layer=layer, peer=peer)
                    result["forward"].append(forward)
                    result["training"].append(training)
            for worker in self._workers.values():
                worker.ask("forget")
            if case.has_peak:
                for (layer, peer), result in results.items():
                    result["peak"] = self._peak(case, layer, peer, paths[layer])
        for (layer, peer), result in results.items():
            middle = [1e3 * statistics.median(result[name]) for name in ("forward", "training")]
            say(f"{case.name}: {layer:16} {peer:12} {middle[0]:10.3f} ms {middle[1]:10.3f} ms")
        return list(results.values())

    def first_calls(
        self,
        case: Case | SetCase,
        peers: Sequence[str] | None = None,
        rounds: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> list[dict[str, Any]]:
        """Times what compiling costs: first steps in fresh processes.

        Args:
            case: The shape.
            peers: As for ``measure``.
            rounds: As for ``measure``; each has a cache folder of its own.
            say: As for ``measure``.

        Returns:
            For each contestant, plain data: ``case``, ``layer``, ``peer``, and seconds of the first
            training step of a process with an empty cache (``empty``), of one that finds the first
            one's cache (``cached``), and of the second steps of both (``second``).
        """
        results = []
        for layer, peer in self.contestants(case, peers):
            result: dict[str, Any] = {"case": case.plain(), "layer": layer, "peer": peer}
            result |= {"empty": [], "cached": [], "second": []}
            for _ in range(rounds or case.rounds):
                with tempfile.TemporaryDirectory() as folder:
                    for state in ("empty", "cached"):
                        first, second = self._first_calls(case, layer, peer, folder)
                        result[state].append(first)
                        result["second"].append(second)
            results.append(result)
            say(f"{case.name}: {layer:16} {peer:12} {result['empty']} s, cached {result['cached']}")
        return results

    def _first_calls(self, case: Case | SetCase, layer: str, peer: str, folder: str) -> list[float]:
        variables = {"GRAPHATTN_CACHE": folder, "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        environment = self.environments[PEERS[peer].environment]
        path, plain = f"{folder}/weights.pt", case.plain()
        with Worker(environment, self.threads, variables) as worker:
            worker.ask("weights", case=plain, layer=layer, path=path)
            seconds: list[float] = worker.ask(
                "first_calls", case=plain, layer=layer, peer=peer, path=path
            )
        return seconds

    def _of(self, peer: str) -> Worker:
        return self.worker(PEERS[peer].environment)

    def _peak(self, case: Case | SetCase, layer: str, peer: str, path: str) -> int:
        environment = self.environments[PEERS[peer].environment]
        with Worker(environment, self.threads, GIVING_BACK) as worker:
            worker.ask("prepare", case=case.plain(), layer=layer, peer=peer, path=path)
            peak: int = worker.ask("peak", layer=layer, peer=peer)
        return peak


def unmeasured(
    case: dict[str, Any], layer: str, peer: str, checksum: list[float], **more: Any
) -> dict[str, Any]:
    """What is known of a contestant before its first sample: plain data, with room for samples."""
    about = {"case": case, "layer": layer, "peer": peer, "checksum": checksum}
    return {**about, **more, "forward": [], "training": [], "peak": None}


def second_peak(made_by: str, case: dict[str, Any], peer: str, threads: int) -> int:
    """Bytes of the second step of a contestant, in a process that does nothing else.

    Args:
        made_by: Module and name of a function of ``case`` and ``peer``, with a colon between.
        case: Plain data.
        peer: Who takes part.
        threads: Of the process.
    """
    with Worker(Environment(sys.executable), threads, GIVING_BACK) as worker:
        peak: int = worker.ask("second_peak", made_by=made_by, case=case, peer=peer)
    return peak


def check_agreement(results: Sequence[Mapping[str, Any]]) -> None:
    """Refuses to compare contestants that compute different things."""
    first: dict[str, Mapping[str, Any]] = {}
    for result in results:
        other = first.setdefault(result["layer"], result)
        for ours, theirs in zip(result["checksum"], other["checksum"], strict=True):
            if not abs(ours - theirs) <= TOLERANCE * abs(theirs):
                raise RuntimeError(
                    f"{result['layer']} of {result['peer']} must give the results of"
                    f" {other['peer']}, checksums {other['checksum']}, got {result['checksum']}"
                )
