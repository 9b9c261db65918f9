"""Paper and pens of the pictures: size, colours, axes, and limits that stragglers do not set.

A figure is made by hand and never by pyplot, which keeps every figure it makes and asks for a
screen.
"""

import io
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from puffin.models.arrays import Floats

# Inches.
WIDTH = 8.2
# Letters are drawn as paths, so that a picture looks alike whichever fonts there are; and names of
# elements are derived from a fixed text, so that the same figure is the same bytes.
_SVG: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": "puffin-tuner"}
# Okabe and Ito's colours, which the colour-blind tell apart, and which differ in grey as well.
BLUE, ORANGE = "#0072b2", "#d55e00"
INK, GREY, PALE = "#222222", "#6e6e6e", "#b5b5b5"
_TITLE, _TEXT = 12, 10.5
# Share of the values that set the upper limit, and of the height that stays free around them.
_SHARE, _MARGIN = 0.9, 0.06


def new_figure(height: float) -> Figure:
    """Make an empty figure of the common width, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def style_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Style axes: title, labels, and none of the lines that say nothing."""
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
        # Each tick has its whole number: no offset to add, no power to multiply by.
        formatter.set_useOffset(False)
        formatter.set_scientific(False)


def add_legend_below(figure: Figure) -> None:
    """Add the legend below the picture, where it covers nothing."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, fontsize=_TEXT - 1, frameon=False
    )


def add_legend(axes: Axes) -> None:
    """Add the legend of what is drawn."""
    axes.legend(loc="best", fontsize=_TEXT - 1, frameon=True, framealpha=0.85, edgecolor="none")


def svg(figure: Figure) -> bytes:
    """Draw a figure; the same one gives the same bytes."""
    buffer = io.BytesIO()
    with rc_context(_SVG):
        figure.savefig(buffer, format="svg", metadata={"Creator": None, "Date": None})
    return buffer.getvalue()


def robust_limits(values: Floats) -> tuple[float, float]:
    """Return the limits of an axis that shows the lowest of `values`, and nine tenths of them."""
    low, high = float(values.min()), float(np.quantile(values, _SHARE))
    return padded(low, high)


def padded(low: float, high: float) -> tuple[float, float]:
    """Leave some room at both ends of an axis, also where they are one."""
    room = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    return low - room, high + room
