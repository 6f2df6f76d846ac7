"""Times contestants on crystals in turn, A B A B, and has their peaks measured by processes."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.crystals.cases import CRYSTAL_CASES, CrystalCase, sizes
from benchmarks.crystals.contestants import Contestant, start
from benchmarks.harness import check_agreement, second_peak, unmeasured


def measure(
    rounds: int | None, threads: int, is_quick: bool, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Times all cases.

    Args:
        rounds: Steps of each contestant; the cases' own number without it.
        threads: Of the processes that measure peaks; those of this one are as they are.
        is_quick: Whether to take each case at its smallest.
        say: Told what goes on.

    Returns:
        For each contestant, plain data: ``case``, ``layer``, ``peer``, ``sizes`` of the batch,
        ``checksum``, ``forward`` and ``training`` (seconds of every step), and ``peak`` (bytes, or
        None).

    Raises:
        FileNotFoundError: If the crystals are not there.
        RuntimeError: If contestants disagree about the result, or one fails.
    """
    results = []
    for row in CRYSTAL_CASES:
        cases = [case.small() for case in row] if is_quick else row
        results += _measure(cases, rounds or row[0].rounds, threads, say)
    return results


def _measure(
    cases: Sequence[CrystalCase], rounds: int, threads: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    entries = [entry for case in cases for entry in _ready(case)]
    for _ in range(rounds):
        for contestant, result in entries:
            forward, training = contestant.step()
            result["forward"].append(forward)
            result["training"].append(training)
    results = [result for _, result in entries]
    for result in results:
        case, layer, peer = (result[name] for name in ("case", "layer", "peer"))
        if case["has_peak"]:
            made_by = "benchmarks.crystals.contestants:from_plain"
            result["peak"] = second_peak(made_by, case, peer, threads)
        middle = [1e3 * statistics.median(result[name]) for name in ("forward", "training")]
        say(f"{case['name']}: {layer:16} {peer:12} {middle[0]:10.3f} ms {middle[1]:10.3f} ms")
    return results


def _ready(case: CrystalCase) -> list[tuple[Contestant, dict[str, Any]]]:
    """The contestants of a case, warm and agreed, and what is known of them before they run."""
    batch = case.batch()
    contestants = {peer: start(case, batch, peer) for peer in case.peers}
    results = {
        peer: unmeasured(case.plain(), case.layer, peer, contestant.checksum(), sizes=sizes(batch))
        for peer, contestant in contestants.items()
    }
    check_agreement(list(results.values()))
    return [(contestants[peer], result) for peer, result in results.items()]
