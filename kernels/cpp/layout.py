"""How a kernel finds the edges of a row, and what dropout keeps of them: in lists, or in blocks."""

import torch

from graphattn.kernels.edge_attention.rows import End, Kind
from graphattn.kernels.philox.reference import INCREMENTS, MULTIPLIERS, ROUNDS

_POSITIONS = {torch.int32: "int32_t", torch.int64: "int64_t"}
_IN_LISTS = "const int64_t {other} = neighbor[position], edge = order[position];"
# The neighbors of a row follow one another, and the edges stand target by target.
_OF_TARGETS = """\
const int64_t source = neighbor[target] + position - ptr[target], edge = position;"""
_OF_SOURCES = """\
const int64_t target = neighbor[source] + position - ptr[source];
const int64_t edge = twin[target] + order[source];"""


def position_type(kind: Kind) -> str:
    """The C++ type of positions."""
    return _POSITIONS[kind.positions]


def ends_text(end: End, kind: Kind) -> str:
    """Statements that find the other end of an edge, and its position in the structure."""
    if kind.layout == "blocks":
        return _OF_TARGETS if end == "target" else _OF_SOURCES
    return _IN_LISTS.format(other="source" if end == "target" else "target")


def keep_parameter(kind: Kind) -> tuple[str, str]:
    """Type and name of what says which weights dropout keeps.

    That is a byte for each of them; in blocks, a seed and the numbers from which weights are kept.
    """
    return ("const int64_t*" if kind.layout == "blocks" else "const uint8_t*", "keep")


LISTED = """
static inline uint8_t is_kept(const uint8_t* keep, int64_t weight) { return keep[weight]; }
"""

DRAWN = f"""
// The first number of Philox-4x32-10 for this seed and counter, against a threshold.
static inline bool is_kept(const int64_t* keep, int64_t weight) {{
  const std::uint64_t seed = keep[0], counter = weight;
  std::uint32_t key = seed, other_key = seed >> 32;
  std::uint32_t a = counter, b = counter >> 32, c = 0, d = 0;
  #pragma GCC unroll {ROUNDS}
  for (int round = 0; round < {ROUNDS}; ++round) {{
    const std::uint64_t product = UINT64_C({MULTIPLIERS[0]}) * a;
    const std::uint64_t other = UINT64_C({MULTIPLIERS[1]}) * c;
    a = static_cast<std::uint32_t>(other >> 32) ^ b ^ key;
    b = static_cast<std::uint32_t>(other);
    c = static_cast<std::uint32_t>(product >> 32) ^ d ^ other_key;
    d = static_cast<std::uint32_t>(product);
    key += {INCREMENTS[0]}u;
    other_key += {INCREMENTS[1]}u;
  }}
  return a >= static_cast<std::uint64_t>(keep[1]);
}}
"""
