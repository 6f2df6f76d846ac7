"""Figures that belong to no window, the colours on them, and learning curves."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal


def new_figure(width: float, height: float) -> Any:
    """Makes an empty figure, sizes in inches, drawn by Agg whatever backend the user has."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install graphattn[plot]") from error
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    return figure


def save_picture(figure: Any, path: str | Path, dpi: float | Literal["figure"] = "figure") -> Path:
    """Writes a picture; the same figure gives the same file, byte for byte.

    Matplotlib alone writes the time and random names into an SVG.

    Args:
        figure: A matplotlib figure.
        path: File to write, ``.svg``, ``.png`` or what else matplotlib has; its folder is made if
            missing.
        dpi: Dots per inch of what is no line or letter; those of the figure if left out.

    Returns:
        The path.
    """
    import matplotlib

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "graphattn", "svg.fonttype": "path"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=dpi, metadata=metadata)
    return path


def learning_curve(
    curves: Mapping[str, Sequence[float]],
    *,
    quantity: str,
    levels: Mapping[str, float] | None = None,
    log_scale: bool = False,
    figure: Any | None = None,
) -> Any:
    """Draws one value per epoch for each curve, and level lines to compare with.

    Args:
        curves: Name of a curve, such as ``"train"``, to its values, one per epoch, the first of
            epoch 1. NaN leaves a gap.
        quantity: What the values are, with their unit: the label of the vertical axis.
        levels: Name of a horizontal line, such as a baseline or a published value, to its value.
        log_scale: Whether the vertical axis is logarithmic.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given), 6.4 by 4 inches if new. No curves and no
        levels give empty axes.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    figure = new_figure(6.4, 4.0) if figure is None else figure
    axes = figure.add_subplot()
    for name, values in curves.items():
        marker = "o" if len(values) == 1 else None  # a line of one point would be invisible
        axes.plot(range(1, len(values) + 1), values, label=name, linewidth=1.8, marker=marker)
    for index, (name, value) in enumerate((levels or {}).items()):
        style = ("--", ":", "-.")[index % 3]
        axes.axhline(value, color="0.35", linestyle=style, linewidth=1.2, label=name)
    if log_scale:
        from matplotlib.ticker import LogLocator, ScalarFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if curves or levels:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def profile_panels(count: int, num_columns: int, figure: Any | None) -> tuple[Any, Any]:
    """A figure, new if none is given, and its grid of panels for profiles, one height for all.

    Raises:
        ValueError: If there is no profile, or ``num_columns`` is not positive.
        ImportError: If matplotlib is not installed.
    """
    if count == 0:
        raise ValueError("profiles must hold at least one profile, got none")
    if num_columns < 1:
        raise ValueError(f"num_columns must be at least 1, got {num_columns}")
    num_columns = min(num_columns, count)
    num_rows = math.ceil(count / num_columns)
    figure = new_figure(3.2 * num_columns + 1.2, 2.4 * num_rows) if figure is None else figure
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    for panel in panels.flat[count:]:
        panel.set_axis_off()
    return figure, panels


def colour_scale(shown: Sequence[float]) -> Any:
    """A scale of colours from the least to the greatest value."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    low, high = min(shown, default=0.0), max(shown, default=0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    visible = range(40, 256)  # the palest colours would vanish on white
    return ScalarMappable(Normalize(low, high), ListedColormap(colormaps["YlOrRd"](visible)))
