"""What each pointwise operation of an edge program is in Triton."""

import math

import torch

# What is computed with: half precision is computed in float32.
_COMPUTED = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
    torch.int64: torch.int64,
    torch.int32: torch.int32,
    torch.bool: torch.bool,
}
_POINTERS = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.bool: "*i1",
    torch.uint8: "*u8",
}
_LIBRARY = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "erfc", "expm1", "log10"),
    *("log1p", "sinh", "tan", "tanh", "trunc"),
)
_EXPRESSIONS = {
    "abs": "tl.abs({0})",
    "add": "{0} + {1}",
    "ceil": "tl.ceil({0})",
    "cos": "tl.cos({0})",
    "detach": "{0}",
    "div": "{0} / {1}",
    "eq": "{0} == {1}",
    "erf": "tl.erf({0})",
    "exp": "tl.exp({0})",
    "exp2": "tl.exp2({0})",
    "floor": "tl.floor({0})",
    "ge": "{0} >= {1}",
    "gt": "{0} > {1}",
    "isinf": 'tl.abs({0}) == float("inf")',
    "isnan": "{0} != {0}",
    "le": "{0} <= {1}",
    "log": "tl.log({0})",
    "log2": "tl.log2({0})",
    "logical_and": "({0} != 0) & ({1} != 0)",
    "logical_not": "{0} == 0",
    "logical_or": "({0} != 0) | ({1} != 0)",
    "lt": "{0} < {1}",
    "maximum": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "minimum": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "mul": "{0} * {1}",
    "ne": "{0} != {1}",
    "neg": "-{0}",
    "pow": "mathematics.pow({0}, {1})",
    "reciprocal": "1 / {0}",
    "relu": "tl.where({0} < 0, 0, {0})",
    "round": "mathematics.rint({0})",  # halves to even, as PyTorch does
    "rsqrt": "tl.rsqrt({0})",
    "sigmoid": "1 / (1 + tl.exp(-{0}))",
    "sin": "tl.sin({0})",
    "sqrt": "tl.sqrt({0})",
    "sub": "{0} - {1}",
    "where": "tl.where({0}, {1}, {2})",
    **{name: f"mathematics.{name}({{0}})" for name in _LIBRARY},
    "atan2": "mathematics.atan2({0}, {1})",
}
_POWERS = {2.0: "{0} * {0}", 0.5: "tl.sqrt({0})", -1.0: "1 / {0}"}
COMPARISONS = ("eq", "ge", "gt", "isinf", "isnan", "le", "lt", "ne")
LOGIC = ("logical_and", "logical_not", "logical_or")


def computed(dtype: torch.dtype) -> torch.dtype:
    """The type that values of an element type are computed in.

    Raises:
        TypeError: If this backend does not know the type.
    """
    if dtype not in _COMPUTED:
        known = ", ".join(str(known).removeprefix("torch.") for known in _COMPUTED)
        raise TypeError(
            f'backend "triton" knows {known}, got {dtype}: cast the inputs, or use'
            ' backend="reference"'
        )
    return _COMPUTED[dtype]


def language_type(dtype: torch.dtype) -> str:
    """The name that Triton has for an element type."""
    return f"tl.{'int1' if dtype == torch.bool else str(dtype).removeprefix('torch.')}"


def pointer_type(dtype: torch.dtype) -> str:
    """How Triton's signatures name a pointer to an element type."""
    computed(dtype)
    return _POINTERS[dtype]


def expression(operation: str, operands: list[str], exponent: float | None = None) -> str:
    """The Triton of a pointwise operation; ``exponent`` is that of a power, if it is a number."""
    if operation == "pow" and exponent in _POWERS:
        return _POWERS[exponent].format(*operands)
    if operation == "sign":
        (x,) = operands
        return f"tl.where({x} > 0, 1, 0) - tl.where({x} < 0, 1, 0)"
    return _EXPRESSIONS[operation].format(*operands)


def literal(value: float) -> str:
    """A Python number as Triton's source has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    # Triton would take a negative number after an operator for an expression of its own.
    return repr(value) if value >= 0 else f"({value!r})"


def number(value: float, dtype: torch.dtype | None) -> str:
    """A Python number as an operand of this type: by itself, Triton would hold it in float32."""
    text = literal(value)
    return f"tl.full((), {text}, tl.float64)" if dtype == torch.float64 else text
