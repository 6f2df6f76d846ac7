"""Times training steps on molecules in turn, A B A B, each on a batch that nobody has seen."""

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.harness import check_agreement, second_peak, unmeasured
from benchmarks.molecules.cases import MOLECULE_CASES, MoleculeCase, sizes
from benchmarks.molecules.contestants import WARM, TrainingStep
from benchmarks.molecules.parts import STEPS, parts_of


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
        For each contestant, plain data: ``case``, ``layer``, ``peer``, ``sizes`` of the batches,
        ``checksum``, ``forward`` and ``training`` (seconds of every step), ``parts`` (seconds of
        the parts of a step, from a profile taken afterwards), and ``peak`` (bytes, or None).

    Raises:
        FileNotFoundError: If the molecules are not there.
        ValueError: If there are too few of them for so many rounds.
        RuntimeError: If contestants disagree about the result, or one fails.
    """
    results = []
    for given in MOLECULE_CASES:
        case = given.small() if is_quick else given
        results += _measure(case, rounds or case.rounds, threads, say)
    return results


def _measure(
    case: MoleculeCase, rounds: int, threads: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    batches = case.batches(WARM + rounds + STEPS)
    contestants = {peer: TrainingStep(case, batches, peer) for peer in case.peers}
    timed = sizes(batches[WARM : WARM + rounds])
    results = {
        peer: unmeasured(case.plain(), case.layer, peer, contestant.checksum(), sizes=timed)
        for peer, contestant in contestants.items()
    }
    check_agreement(list(results.values()))
    for number in range(WARM + rounds):
        for peer, contestant in contestants.items():
            forward, training = contestant.step()
            if number >= WARM:
                results[peer]["forward"].append(forward)
                results[peer]["training"].append(training)
    for peer, result in results.items():
        result["parts"] = parts_of(contestants[peer])
        if case.has_peak:
            made_by = "benchmarks.molecules.contestants:from_plain"
            result["peak"] = second_peak(made_by, case.plain(), peer, threads)
        middle = [1e3 * statistics.median(result[name]) for name in ("forward", "training")]
        say(f"{case.name}: {case.layer:28} {peer:6} {middle[0]:10.3f} ms {middle[1]:10.3f} ms")
    return list(results.values())
