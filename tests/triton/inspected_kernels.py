"""Kernels by hand whose traffic is known: each walks over the edges of one row."""

from dataclasses import dataclass, field
from typing import Any

from graphattn.kernels.triton.inspect.compilation import Kernel

_KINDS = {
    "ptr": "*i64",
    "neighbor": "*i32",
    "source": "*fp32",
    "bias": "*fp32",
    "out": "*fp32",
    "width": "i64",
    "BLOCK": "constexpr",
    "H": "constexpr",
    "C": "constexpr",
}
_HEAD = """
import triton
import triton.language as tl


@triton.jit
def kernel({parameters}):
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, H)[None, :, None]
    at = head * C + tl.arange(0, C)[None, None, :]
    first, last = tl.load(ptr + row), tl.load(ptr + row + 1)
    total = tl.zeros((H, C), tl.float32)
"""
_TAIL = """
    tl.store(out + row * (H * C) + at, total[None, :, :])
"""
_TILE = """
    for start in range(first, last, BLOCK):
        position = start + tl.arange(0, BLOCK)
        is_edge = position < last
        node = tl.load(neighbor + position, mask=is_edge, other=0).to(tl.int64)
        mask = is_edge[:, None, None]
        tile = tl.load(source + node[:, None, None] * {row} + at, mask=mask, other=0.0)
"""
_SUM = _TILE.format(row="(H * C)") + "        total += tl.sum(tile, axis=0)\n"


@dataclass(frozen=True)
class Written:
    """A kernel by hand.

    Attributes:
        body: What stands between its head and its tail.
        given: Its parameters besides those of all.
        sizes: Values of BLOCK, H and C.
        num_warps: Warps of a block.
    """

    body: str
    given: tuple[str, ...] = ()
    sizes: tuple[int, int, int] = (16, 8, 16)
    num_warps: int = 4
    tail: str = _TAIL
    head: str = field(default=_HEAD, repr=False)

    @property
    def names(self) -> list[str]:
        return ["ptr", "neighbor", "source", *self.given, "out"]

    def kernel(self) -> Kernel:
        names = [*self.names, "BLOCK", "H", "C"]
        parameters = ", ".join(
            f"{name}: tl.constexpr" if _KINDS[name] == "constexpr" else name for name in names
        )
        constants: dict[str, Any] = dict(zip(("BLOCK", "H", "C"), self.sizes, strict=True))
        text = self.head.format(parameters=parameters) + self.body + self.tail
        signature = {name: _KINDS[name] for name in names}
        return Kernel("kernel", text, signature, constants, self.num_warps)


WRITTEN = {
    # Every edge reads its source's row, and where that is.
    "once": Written(_SUM),
    "by one warp": Written(_SUM, num_warps=1),
    "of many warps": Written(_SUM, sizes=(2, 1, 32), num_warps=8),
    # A softmax in two walks: the largest, then the sum.
    "twice": Written(
        "    largest = tl.full((H, C), -1e30, tl.float32)\n"
        + _TILE.format(row="(H * C)")
        + "        seen = tl.where(mask, tile, -1e30)\n"
        + "        largest = tl.maximum(largest, tl.max(seen, axis=0))\n"
        + _TILE.format(row="(H * C)")
        + "        total += tl.sum(tl.where(mask, tl.exp(tile - largest[None]), 0.0), axis=0)\n"
    ),
    # A number for every edge and head, spread over the channels.
    "spread": Written(
        _TILE.format(row="(H * C)")
        + "        number = bias + position[:, None, None] * H + head + at * 0\n"
        + "        total += tl.sum(tile * tl.load(number, mask=mask, other=0.0), axis=0)\n",
        given=("bias",),
    ),
    # The same again for each of four quarters of a row.
    "in quarters": Written(
        _TILE.format(row="(H * C)")
        + "        for quarter in range(4):\n"
        + "            part = tl.arange(0, H * C // 4)[None, :]\n"
        + "            place = source + node[:, None] * (H * C) + quarter * (H * C // 4) + part\n"
        + "            more = tl.load(place, mask=is_edge[:, None], other=0.0)\n"
        + "            total += tl.sum(more)\n"
        + "        total += tl.sum(tile, axis=0)\n"
    ),
    # Rows may begin anywhere, as far as the compiler knows.
    "narrow": Written(
        _TILE.format(row="width") + "        total += tl.sum(tile, axis=0)\n", given=("width",)
    ),
    "spilling": Written(
        _TILE.format(row="(H * C)")
        + "        tile = tl.exp(tile - tl.max(tile, axis=0)[None])\n"
        + "        tile = tl.exp(tile - tl.max(tile, axis=2)[:, :, None])\n"
        + "        total += tl.sum(tile, axis=0)\n",
        sizes=(64, 8, 64),
    ),
    "atomic": Written(
        _SUM, tail="\n    tl.atomic_add(out + row * (H * C) + at, total[None, :, :])\n"
    ),
    # A tile of edges for each instance, and no loop at all.
    "flat": Written(
        "    position = row * BLOCK + tl.arange(0, BLOCK)\n"
        "    node = tl.load(neighbor + position).to(tl.int64)\n"
        "    tile = tl.load(source + node[:, None, None] * (H * C) + at)\n"
        "    total += first + last\n",
        tail="    tl.store(out + position[:, None, None] * (H * C) + at, tile + total[None])\n",
    ),
    "of unknown length": Written(
        _TILE.format(row="(H * C)")
        + "        for turn in range(first):\n"
        + "            total += tl.sum(tl.load(source + turn + at))\n"
        + "        total += tl.sum(tile, axis=0)\n"
    ),
}
