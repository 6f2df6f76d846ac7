"""Launches a pass on a GPU, or in Triton's interpreter."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from triton.runtime.errors import OutOfResources

from graphattn.kernels.edge_attention.rows import PIECE, Rows
from graphattn.kernels.triton.available import on_device
from graphattn.kernels.triton.frame import Source
from graphattn.kernels.triton.module import module
from graphattn.kernels.triton.table import Settings, settings, step_down

# Instances that sum something over all edges; each leaves a part of it.
_MOST_PARTS = 1024


class Kernel:
    """A pass, compiled by Triton for the kinds of its arguments when it first runs.

    Args:
        made: What it is printed as.
    """

    def __init__(self, made: Source) -> None:
        self.made, self.source, self.sum_dtype = made, made.text, made.sum_dtype
        functions = module(made.text)
        self.run = getattr(functions, made.name)
        self.merge = getattr(functions, f"{made.name}_merge", None)
        self._smaller: dict[Settings, Settings] = {}  # where a device had too little of something

    def num_parts(self, rows: Rows) -> int:
        """How many instances leave a part of what is summed over all edges."""
        return math.ceil(rows.pieces.count / self._pieces_each(rows))

    def __call__(self, rows: Rows, scale: float, tensors: Sequence[Tensor | None]) -> None:
        """Runs the pass over rows.

        Args:
            rows: The edges it walks.
            scale: What dropout multiplies a kept weight by.
            tensors: The rest of its parameters, contiguous; ``None`` where there is none.

        Raises:
            RuntimeError: If the device has too little shared memory, or too few registers, for the
                smallest tiles.
        """
        pieces, num_rows = rows.pieces, rows.ptr.shape[0] - 1
        if num_rows:
            parts = rows.ptr.new_empty(
                pieces.num_slots * self.made.row_size, dtype=self.made.sum_dtype
            )
            with on_device(rows.ptr.device):
                self._walk(rows, parts, scale, tensors)
                if self.merge is not None and pieces.split_rows.shape[0]:
                    self.merge[(pieces.split_rows.shape[0],)](
                        pieces.split_rows,
                        pieces.first_slot,
                        num_rows,
                        parts,
                        *tensors,
                        enable_fp_fusion=True,
                    )
        self._add_parts(tensors)

    def _walk(
        self, rows: Rows, parts: Tensor, scale: float, tensors: Sequence[Tensor | None]
    ) -> None:
        pieces, num_rows = rows.pieces, rows.ptr.shape[0] - 1
        degree = rows.num_edges / num_rows
        wished = settings(self.made.widest, self.made.least_edges, degree)
        while True:
            used = self._smaller.get(wished, wished)
            try:
                self.run[(self.num_parts(rows),)](
                    pieces.row,
                    pieces.first,
                    pieces.first_slot,
                    rows.ptr,
                    rows.neighbor,
                    rows.order,
                    rows.twin,
                    num_rows,
                    pieces.count,
                    parts,
                    *tensors,
                    SCALE=float(scale),
                    BLOCK=used.edges,
                    PIECE=PIECE,
                    PIECES=self._pieces_each(rows),
                    num_warps=used.warps,
                    enable_fp_fusion=True,
                )
            except OutOfResources as error:
                self._smaller[wished] = step_down(used, self.made.least_edges, error)
            else:
                return

    def _pieces_each(self, rows: Rows) -> int:
        if not self.made.is_grouped:
            return 1
        return 2 ** max(0, math.ceil(math.log2(max(1, rows.pieces.count) / _MOST_PARTS)))

    def _add_parts(self, tensors: Sequence[Tensor | None]) -> None:
        """Sums over all edges, from what the instances found, always in the same order."""
        if not self.made.is_grouped:
            return
        names = [name for name, kind in self.made.parameters if kind != "constexpr"]
        given: dict[str, Any] = dict(zip(names[-len(tensors) :], tensors, strict=True))
        for name, tensor in given.items():
            if name.startswith("partial_"):
                whole = given[name.replace("partial_", "gradient_", 1)]
                whole.copy_(tensor.sum(0).view_as(whole))
