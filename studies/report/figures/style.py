"""Common style of the figures: size, colours, axes, and limits robust to outliers.

Figures are created directly and not through pyplot, which keeps every figure in memory and looks
for a display.
"""

import io
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from puffin.models.arrays import Floats

# Width of a figure in inches.
WIDTH = 8.2
# Letters are drawn as paths, so that a figure looks the same whichever fonts are installed. Element
# names are derived from a fixed salt, so that equal figures are equal bytes.
_SVG: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": "puffin-tuner"}
# Okabe and Ito's colours, which colour-blind readers can tell apart and which differ in grey too.
BLUE, ORANGE = "#0072b2", "#d55e00"
INK, GREY, PALE = "#222222", "#6e6e6e", "#b5b5b5"
_TITLE, _TEXT = 12, 10.5
# Quantile of the values that sets the upper limit, and the margin as a share of the range.
_SHARE, _MARGIN = 0.9, 0.06


def new_figure(height: float) -> Figure:
    """Return an empty figure of the common width, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def style_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Set the title and labels of axes, and remove lines that carry no information."""
    axes.set_title(title, loc="left", fontsize=_TITLE, color=INK, wrap=True)
    axes.set_xlabel(x, fontsize=_TEXT, color=INK)
    axes.set_ylabel(y, fontsize=_TEXT, color=INK)
    axes.tick_params(labelsize=_TEXT, labelcolor=INK, color=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(visible=True, axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    formatter = axes.yaxis.get_major_formatter()
    if isinstance(formatter, ScalarFormatter):
        # Write each tick in full, without an offset or a power of ten beside the axis.
        formatter.set_useOffset(False)
        formatter.set_scientific(False)


def add_legend_below(figure: Figure) -> None:
    """Add the legend below the axes, so that it covers no data."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, fontsize=_TEXT - 1, frameon=False
    )


def add_legend(axes: Axes) -> None:
    """Add the legend inside the axes."""
    axes.legend(loc="best", fontsize=_TEXT - 1, frameon=True, framealpha=0.85, edgecolor="none")


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with rc_context(_SVG):
        figure.savefig(buffer, format="svg", metadata={"Creator": None, "Date": None})
    return buffer.getvalue()


def robust_limits(values: Floats) -> tuple[float, float]:
    """Return axis limits that span the lowest nine tenths of `values`."""
    low, high = float(values.min()), float(np.quantile(values, _SHARE))
    return padded(low, high)


def padded(low: float, high: float) -> tuple[float, float]:
    """Return axis limits with a margin at both ends, also if both ends are equal."""
    room = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    return low - room, high + room
