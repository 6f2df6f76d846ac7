"""What the processors of a GPU can hold at once, and how much of that a kernel uses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one processor of a GPU holds: a streaming multiprocessor, or a compute unit.

    Attributes:
        warps: Most warps at once.
        blocks: Most blocks at once.
        schedulers: Parts among which warps are dealt out; each has its share of registers.
        registers: Registers of 32 bits that a scheduler has for each thread of a warp.
        register_unit: Registers of a thread are given out in multiples of it.
        shared: Bytes of shared memory.
        shared_of_block: Most of it that a block may ask for.
        shared_unit: It is given out in multiples of this.
        shared_reserved: What the system takes of it for every block.
    """

    warps: int
    blocks: int
    schedulers: int
    registers: int
    register_unit: int
    shared: int
    shared_of_block: int
    shared_unit: int
    shared_reserved: int


# NVIDIA: CUDA C++ Programming Guide 13.0, "Compute Capabilities", table "Technical Specifications
# per Compute Capability" (64K registers, of which a thread has at most 255); for what is given out
# at a time and reserved, the tuning guides of Ampere, Hopper and Blackwell.
# AMD: LLVM's "User Guide for AMDGPU Backend" and the CDNA 3 instruction set guide; accumulation
# registers count with the others. Warps are called waves there, of 64 threads.
LIMITS = {
    "sm_80": Limits(64, 32, 4, 512, 8, 164 << 10, 163 << 10, 128, 1 << 10),
    "sm_90": Limits(64, 32, 4, 512, 8, 228 << 10, 227 << 10, 128, 1 << 10),
    "sm_100": Limits(64, 32, 4, 512, 8, 228 << 10, 227 << 10, 128, 1 << 10),
    "gfx942": Limits(32, 32, 4, 512, 8, 64 << 10, 64 << 10, 512, 0),
}


@dataclass(frozen=True)
class Occupancy:
    """How much of a processor a kernel can fill.

    Attributes:
        blocks: Blocks at once.
        warps: Warps at once.
        share: Of the most warps that there can be.
        limit: What there is too little of for more: ``"warps"``, ``"blocks"``, ``"registers"`` or
            ``"shared memory"``.
    """

    blocks: int
    warps: int
    share: float
    limit: str


def occupancy(limits: Limits, registers: int, shared: int, num_warps: int) -> Occupancy:
    """How many blocks of a kernel one processor holds at once.

    Args:
        limits: Of the architecture.
        registers: Registers of a thread.
        shared: Bytes of shared memory of a block.
        num_warps: Warps of a block.

    Raises:
        ValueError: If not even one block fits.
    """
    own = _up(max(registers, 1), limits.register_unit)
    by_registers = limits.schedulers * (limits.registers // own) // num_warps
    asked = _up(shared + limits.shared_reserved, limits.shared_unit)
    most = {
        "warps": limits.warps // num_warps,
        "blocks": limits.blocks,
        "registers": by_registers,
        "shared memory": limits.shared // asked if asked else limits.blocks,
    }
    limit = min(most, key=lambda name: most[name])
    if most[limit] < 1 or shared > limits.shared_of_block:
        raise ValueError(
            f"a block must fit on a processor, got {registers} registers, {shared} bytes of shared"
            f" memory and {num_warps} warps"
        )
    blocks = most[limit]
    warps = blocks * num_warps
    return Occupancy(blocks, warps, warps / limits.warps, limit)


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
