"""What kernels run on: a GPU, or Triton's interpreter; how it tells time, memory and bandwidth."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from graphattn.kernels.triton.available import is_interpreted

_COPIES = 10
_LARGE_COPY, _SMALL_COPY = 2**30, 2**24  # bytes; the large one is many times what caches hold
_FILLED, _FILLS = 2**28, 100  # bytes, and how often: milliseconds of work on the fastest cards


@dataclass(frozen=True)
class Bandwidth:
    """Bytes that memory moves in a second.

    Attributes:
        stated: By its clock and the width of its bus; ``None`` where the driver does not say.
        copied: Of a large copy, bytes read and bytes written.
    """

    stated: float | None
    copied: float

    @property
    def peak(self) -> float:
        """What shares are of: what is stated, unless a copy shows that this is too little."""
        return max(self.stated or 0.0, self.copied)

    def __str__(self) -> str:
        copied = f"{self.copied / 1e9:,.0f} GB/s of a copy measured here"
        if self.stated is None or self.stated < self.copied:
            return copied
        return f"{self.stated / 1e9:,.0f} GB/s by memory clock and bus width ({copied})"


class Machine(Protocol):
    """What the benchmark asks of a machine.

    Attributes:
        device: Where tensors lie.
        name: For the page.
        is_interpreted: Whether it is Triton's interpreter, whose times say nothing.
    """

    device: torch.device
    name: str
    is_interpreted: bool

    def now(self) -> Any:
        """A mark in the work of the current stream."""
        ...

    def seconds(self, start: Any, stop: Any) -> float:
        """Seconds between two marks; waits for the second."""
        ...

    def wait(self) -> None:
        """Waits for all work; what went wrong in it is raised here."""
        ...

    def occupy(self) -> None:
        """Gives a GPU work for as long as Python takes to launch a step."""
        ...

    def peak(self, step: Callable[[], object]) -> int | None:
        """Bytes by which memory grows at most in a step; ``None`` if that is not known."""
        ...

    def bandwidth(self) -> Bandwidth:
        """Of the memory."""
        ...


class GPU:
    """The current device of PyTorch, timed by events of its own."""

    is_interpreted = False

    def __init__(self) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.name = torch.cuda.get_device_name(self.device)

    def now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, stop: torch.cuda.Event) -> float:
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3

    def wait(self) -> None:
        torch.cuda.synchronize(self.device)

    def occupy(self) -> None:
        filled = torch.empty(_FILLED, dtype=torch.uint8, device=self.device)
        for _ in range(_FILLS):
            filled.zero_()

    def peak(self, step: Callable[[], object]) -> int | None:
        self.wait()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        step()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) - before

    def bandwidth(self) -> Bandwidth:
        properties = torch.cuda.get_device_properties(self.device)
        # Kilohertz and bits; not every release and every driver tells them.
        clock = 1e3 * getattr(properties, "memory_clock_rate", 0)
        width = getattr(properties, "memory_bus_width", 0) / 8
        free, _ = torch.cuda.mem_get_info(self.device)
        copied = _copied(self, min(_LARGE_COPY, free // 4))
        return Bandwidth(2 * clock * width or None, copied)  # two transfers in a beat


class Interpreter:
    """Triton's interpreter, on tensors of the CPU."""

    is_interpreted = True

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.name = "Triton's interpreter"

    def now(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, stop: float) -> float:
        return stop - start

    def wait(self) -> None:
        return

    def occupy(self) -> None:
        return

    def peak(self, step: Callable[[], object]) -> int | None:
        step()
        return None

    def bandwidth(self) -> Bandwidth:
        return Bandwidth(None, _copied(self, _SMALL_COPY))


def find_machine() -> Machine | None:
    """The machine there is: the interpreter if it was asked for, else the current GPU, if any."""
    if is_interpreted():
        return Interpreter()
    return GPU() if torch.cuda.is_available() else None


def _copied(machine: Machine, size: int) -> float:
    source = torch.zeros(size, dtype=torch.uint8, device=machine.device)
    target = torch.zeros_like(source)
    seconds = []
    for _ in range(_COPIES):
        start = machine.now()
        target.copy_(source)
        seconds.append(machine.seconds(start, machine.now()))
    return 2 * size / statistics.median(seconds)
