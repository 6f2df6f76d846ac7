"""Triton's tensor code (TTGIR) as plain operations and values."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from triton._C.libtriton import ir
from triton.compiler.compiler import make_backend

from graphattn.kernels.triton.inspect.compilation import TARGETS, Binary
from graphattn.kernels.triton.inspect.layouts import Layout, layout_of

LOOPS = ("scf.for", "scf.while")


@dataclass(frozen=True)
class Value:
    """What an operation takes or makes.

    Attributes:
        number: Tells it from others.
        type: As the code has it.
        shape: Of a tensor; empty for a scalar.
        layout: Of a tensor in registers, if it is known.
    """

    number: int
    type: str
    shape: tuple[int, ...]
    layout: Layout | None


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: Such as ``"tt.load"``.
        operands: What it takes.
        results: What it makes.
        region: The region in which it stands.
        regions: Those it has.
        axis: Setting of that name.
        constant: Its number, if that is all it makes.
    """

    name: str
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    region: int
    regions: tuple[int, ...]
    axis: int | None
    constant: int | None


class Code:
    """The operations of a kernel, those inside another before it.

    Args:
        binary: The kernel.

    Attributes:
        operations: In order.
        arguments: What the first block of each region is given.
    """

    def __init__(self, binary: Binary) -> None:
        self.operations: list[Operation] = []
        self.arguments: dict[int, tuple[Value, ...]] = {}
        context = ir.context()
        ir.load_dialects(context)
        make_backend(TARGETS[binary.architecture]).load_dialects(context)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kernel.ttgir")
            path.write_text(binary.tensor_code)
            module = ir.parse_mlir_module(str(path), context)
        self._layouts: dict[str, Layout | None] = {}
        module.walk(self._read)

    @cached_property
    def owners(self) -> dict[int, Operation]:
        """The operation that has a region."""
        return {region: one for one in self.operations for region in one.regions}

    @cached_property
    def constants(self) -> dict[int, int]:
        """Numbers that are known, by value."""
        return {
            one.results[0].number: one.constant
            for one in self.operations
            if one.constant is not None
        }

    def loops(self, operation: Operation) -> tuple[Operation, ...]:
        """The loops in which an operation stands, outermost first."""
        around = [one for one in self._around(operation) if one.name in LOOPS]
        return tuple(reversed(around))

    def _around(self, operation: Operation) -> Iterator[Operation]:
        while operation.region in self.owners:
            operation = self.owners[operation.region]
            yield operation

    @property
    def parameters(self) -> tuple[Value, ...]:
        """What the kernel is given."""
        (function,) = (one for one in self.operations if one.name == "tt.func")
        return self.arguments[function.regions[0]]

    def _read(self, operation: Any) -> None:
        block = operation.get_block()
        region = 0 if block is None else block.get_parent().id()
        name = operation.get_name()
        if region and region not in self.arguments:
            self.arguments[region] = tuple(
                self._value(block.get_argument(i)) for i in range(block.get_num_arguments())
            )
        self.operations.append(
            Operation(
                name=name,
                operands=tuple(
                    self._value(operation.get_operand(i))
                    for i in range(operation.get_num_operands())
                ),
                results=tuple(
                    self._value(operation.get_result(i)) for i in range(operation.get_num_results())
                ),
                region=region,
                regions=tuple(
                    operation.get_region(i).id() for i in range(operation.get_num_regions())
                ),
                axis=operation.get_int_attr("axis"),
                constant=operation.get_constant_value() if name == "arith.constant" else None,
            )
        )

    def _value(self, value: Any) -> Value:
        kind = str(value.get_type())
        if not kind.startswith("tensor<"):
            return Value(value.id(), kind, (), None)
        if kind not in self._layouts:
            self._layouts[kind] = layout_of(kind)
        return Value(value.id(), kind, tuple(value.get_shape()), self._layouts[kind])
