"""What is wrong with a kernel, as far as its compiled code tells."""

from collections.abc import Iterator

from graphattn.kernels.triton.inspect.inspection import Inspection
from graphattn.kernels.triton.inspect.minimum import Minimum

MOST_BYTES = 1.25  # times the fewest that a pass can move
LONG_ROW = 128  # bytes of a row from which on loads and stores must be vectors
_VECTOR = 8  # bytes


def failures(inspection: Inspection, least: Minimum | None, *, is_forward: bool) -> list[str]:
    """Why a kernel should not be used as it is; nothing if it may be.

    Args:
        inspection: Of the kernel.
        least: What it must move; ``None`` for one that walks over no edges.
        is_forward: Whether it is held to ``MOST_BYTES`` of that.
    """
    return list(_failures(inspection, least, is_forward))


def _failures(inspection: Inspection, least: Minimum | None, is_forward: bool) -> Iterator[str]:
    used = inspection.resources
    if used.local_loads or used.local_stores:
        yield f"spills: {used.local_stores} bytes out, {used.local_loads} in"
    if used.stack or used.local:
        yield f"local memory: {used.stack + used.local} bytes a thread"
    if inspection.occupancy is None:
        yield f"too large: {inspection.shared} bytes of shared memory, {used.registers} registers"
    if inspection.atomics:
        yield f"atomics: {inspection.atomics}"
    if least is None:
        return
    if not inspection.edges:
        yield "no walk over edges: no positions are read"
        return
    for name, size in inspection.moved.items():
        narrowest = min(inspection.widths.get(name, [inspection.widest]))
        if size >= LONG_ROW and narrowest < _VECTOR:
            yield f"no vectors: {name} by {narrowest} bytes"
    moved = sum(inspection.moved.values())
    if is_forward and moved > MOST_BYTES * least.per_edge:
        yield f"bytes: {moved:.0f} for each edge, of which {least.per_edge} are needed"
