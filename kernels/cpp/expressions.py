"""What each pointwise operation of an edge program is in C++."""

import math

import torch

# What is computed with, and what lies in memory: half precision is computed in float.
_COMPUTED = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "float",
    torch.float16: "float",
    torch.int64: "int64_t",
    torch.int32: "int32_t",
    torch.bool: "bool",
}
HALVES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
_STORED = {**_COMPUTED, **HALVES}

_FUNCTIONS = {
    "abs": "std::abs",
    "acos": "std::acos",
    "acosh": "std::acosh",
    "asin": "std::asin",
    "asinh": "std::asinh",
    "atan": "std::atan",
    "atan2": "std::atan2",
    "atanh": "std::atanh",
    "ceil": "std::ceil",
    "cos": "std::cos",
    "cosh": "std::cosh",
    "erf": "std::erf",
    "erfc": "std::erfc",
    "exp": "exponential",
    "exp2": "std::exp2",
    "expm1": "std::expm1",
    "floor": "std::floor",
    "isinf": "std::isinf",
    "isnan": "std::isnan",
    "log": "std::log",
    "log10": "std::log10",
    "log1p": "std::log1p",
    "log2": "std::log2",
    "pow": "std::pow",
    "round": "std::nearbyint",  # halves to even, as PyTorch does
    "sin": "std::sin",
    "sinh": "std::sinh",
    "sqrt": "std::sqrt",
    "tan": "std::tan",
    "tanh": "hyperbolic_tangent",
    "trunc": "std::trunc",
}
_EXPRESSIONS = {
    "add": "{0} + {1}",
    "copy": "{0}",
    "detach": "{0}",
    "div": "{0} / {1}",
    "eq": "{0} == {1}",
    "ge": "{0} >= {1}",
    "gt": "{0} > {1}",
    "le": "{0} <= {1}",
    "logical_and": "({0} != 0) && ({1} != 0)",
    "logical_not": "!({0} != 0)",
    "logical_or": "({0} != 0) || ({1} != 0)",
    "lt": "{0} < {1}",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "mul": "{0} * {1}",
    "ne": "{0} != {1}",
    "neg": "-{0}",
    "reciprocal": "1 / {0}",
    "relu": "({0} < 0 ? 0 : {0})",
    "rsqrt": "1 / std::sqrt({0})",
    "sigmoid": "1 / (1 + exponential(-{0}))",
    "sign": "({0} > 0) - ({0} < 0)",
    "sub": "{0} - {1}",
    "where": "{0} ? {1} : {2}",
}


def c_type(dtype: torch.dtype) -> str:
    """The C++ type that values of an element type are computed in."""
    return _known(_COMPUTED, dtype)


def stored_type(dtype: torch.dtype) -> str:
    """The C++ type of a tensor's memory."""
    return _known(_STORED, dtype)


def _known(types: dict[torch.dtype, str], dtype: torch.dtype) -> str:
    if dtype not in types:
        known = ", ".join(str(known).removeprefix("torch.") for known in types)
        raise TypeError(
            f'backend "cpp" knows {known}, got {dtype}: cast the inputs, or use backend="reference"'
        )
    return types[dtype]


def expression(operation: str, operands: list[str]) -> str:
    """The C++ of a pointwise operation on scalars."""
    if operation == "pow" and operands[1] in ("float(2.0)", "double(2.0)"):
        return f"{operands[0]} * {operands[0]}"
    if operation in _FUNCTIONS:
        return f"{_FUNCTIONS[operation]}({', '.join(operands)})"
    return _EXPRESSIONS[operation].format(*operands)


def literal(value: float, dtype: torch.dtype) -> str:
    """A Python number as C++ writes it in an operation whose result has this element type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and not dtype.is_floating_point:
        return f"INT64_C({value})"
    kind = "double" if dtype == torch.float64 else "float"
    if math.isnan(value):
        return f"std::numeric_limits<{kind}>::quiet_NaN()"
    if math.isinf(value):
        sign = "-" if value < 0 else ""
        return f"{sign}std::numeric_limits<{kind}>::infinity()"
    return f"{kind}({float(value)!r})"
