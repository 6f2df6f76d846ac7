"""Runs checks one by one, and says what each found, in numbers."""

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu.machine import Machine

# Relative to the largest number of a tensor, one at least, and absolute: those of torch.testing,
# and how many times these are allowed.
_TOLERANCES = {
    torch.float64: (1e-7, 1e-7),
    torch.float32: (1.3e-6, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float16: (1e-3, 1e-5),
}
_FACTORS = {
    torch.float64: 1.0,
    # Rows of thousands of edges, whose terms cancel; plain PyTorch in float32 is off by as much.
    torch.float32: 8.0,
    # Weights that are returned are rounded, and the gradients that arrive for them.
    torch.bfloat16: 2.0,
    torch.float16: 4.0,
}


class CheckError(Exception):
    """What was computed is not what had to be."""


class SkippedError(Exception):
    """A check cannot run here; says what it would need."""


@dataclass(frozen=True)
class Check:
    """One question to a machine.

    Attributes:
        name: What is checked.
        run: Gives what was found; raises what is wrong.
    """

    name: str
    run: Callable[[], str]


@dataclass(frozen=True)
class Outcome:
    """What came of a check; plain data for its record.

    Attributes:
        name: Of the check.
        status: ``"ok"``, ``"FAILED"`` or ``"skipped"``.
        found: In numbers, or what went wrong, or what is needed.
        trace: Where it went wrong; empty if it did not.
    """

    name: str
    status: str
    found: str
    trace: str = ""


def run_checks(
    checks: Iterable[Check], machine: Machine, say: Callable[[str], None]
) -> list[Outcome]:
    """Runs all checks, whatever comes of them.

    Args:
        checks: The checks.
        machine: Waited for after each, so that a kernel's failure is told with its own check.
        say: Told what came of each, as soon as that is known.
    """
    outcomes = []
    for check in checks:
        outcome = _outcome(check, machine)
        say(f"{outcome.status:8}{outcome.name}: {outcome.found}")
        if outcome.trace:
            say(outcome.trace)
        outcomes.append(outcome)
    return outcomes


def compare(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: torch.dtype
) -> str:
    """Says how far that tensor is off which uses most of what it may be off by.

    Args:
        actual: By name, of type ``dtype``.
        expected: By the same names, in float64.
        dtype: Says how far they may be.

    Raises:
        CheckError: If there are other names, types or shapes, NaN at other places, or numbers that
            are off by more.
    """
    if actual.keys() != expected.keys():
        raise CheckError(f"gives {', '.join(actual)} and must give {', '.join(expected)}")
    rtol, atol = _TOLERANCES[dtype]
    worst = ("nothing", 0.0, 1.0)
    for name, wanted in expected.items():
        found = actual[name]
        if (found.dtype, found.shape) != (dtype, wanted.shape):
            kinds = f"{found.dtype} {tuple(found.shape)}, must be {dtype} {tuple(wanted.shape)}"
            raise CheckError(f"{name} is {kinds}")
        ours = found.double()
        is_elsewhere = ours.isnan() != wanted.isnan()
        if is_elsewhere.any():
            raise CheckError(f"{name} differs in where it is NaN, {int(is_elsewhere.sum())} times")
        error = _largest(torch.where(ours == wanted, 0, ours - wanted))
        # Gradients are sums whose terms may cancel; what they are rounded by goes by the terms.
        allowed = _FACTORS[dtype] * (atol + rtol * max(1.0, _largest(wanted)))
        if not error <= allowed:
            raise CheckError(f"{name} is off by {error:.1e}, and may be by {allowed:.1e}")
        if error / allowed >= worst[1] / worst[2]:
            worst = (name, error, allowed)
    name, error, allowed = worst
    return f"{name} off by {error:.1e}, {allowed:.1e} allowed"


def compare_bits(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Says how many numbers are the same to the bit.

    Raises:
        CheckError: If one is not.
    """
    count = 0
    for name, wanted in expected.items():
        found = actual[name]
        if not torch.equal(found, wanted):
            different = int((found != wanted).sum())
            raise CheckError(f"{name} differs in {different} of {wanted.numel()} numbers")
        count += wanted.numel()
    return f"the same bits, {count:,} numbers"


def wide(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in float64, but for masks."""
    return {name: x.double() if x.is_floating_point() else x for name, x in tensors.items()}


def one_line(error: Exception) -> str:
    """The beginning of what an error says."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _largest(x: Tensor) -> float:
    return float(x.detach().nan_to_num(0.0).abs().max()) if x.numel() else 0.0


def _outcome(check: Check, machine: Machine) -> Outcome:
    try:
        found = check.run()
        machine.wait()
    except SkippedError as reason:
        return Outcome(check.name, "skipped", str(reason))
    except CheckError as wrong:
        return Outcome(check.name, "FAILED", str(wrong))
    except Exception as error:
        return Outcome(check.name, "FAILED", one_line(error), traceback.format_exc())
    return Outcome(check.name, "ok", found)
