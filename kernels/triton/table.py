"""How large the tiles of a kernel are, and how many warps work on one."""

from dataclasses import dataclass

# Elements of the largest tile: one warp holds it, 16 elements a thread. Larger tiles need barriers
# between warps, and are predicted to be slower (docs/gpu.md).
_ELEMENTS = 512
_ELEMENTS_OF_A_WARP = 512
_MOST_EDGES, _MOST_WARPS = 64, 8


@dataclass(frozen=True)
class Settings:
    """How a pass is compiled.

    Attributes:
        edges: Edges of a tile, a power of two.
        warps: Warps of an instance, a power of two.
    """

    edges: int
    warps: int


def settings(widest: int, least_edges: int, degree: float) -> Settings:
    """The settings of a pass.

    Args:
        widest: Elements that an edge has in the largest tile.
        least_edges: Of a tile.
        degree: Mean number of edges of a row: a tile of more would be empty for the most part.
    """
    of_row = _power(max(1, round(degree)))
    edges = max(least_edges, min(_MOST_EDGES, of_row, _power_below(_ELEMENTS // widest)))
    warps = min(_MOST_WARPS, _power(max(1, edges * widest // _ELEMENTS_OF_A_WARP)))
    return Settings(edges, warps)


def step_down(used: Settings, least_edges: int, error: Exception) -> Settings:
    """Smaller settings, after a device had too little for some.

    Raises:
        RuntimeError: If there are none.
    """
    if used.edges // 2 >= least_edges and used.edges > 1:
        return Settings(used.edges // 2, used.warps)
    if used.warps < _MOST_WARPS:
        return Settings(used.edges, used.warps * 2)
    raise RuntimeError(
        f"the device has too little for this attention even with tiles of {used.edges} edges"
        f' ({error}): use fewer heads or channels, or backend="reference"'
    ) from error


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _power_below(count: int) -> int:
    return 1 << max(0, max(1, count).bit_length() - 1)
