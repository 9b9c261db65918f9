"""Common style of the figures: size, colours, axes, names of lines, and robust limits.

A figure is as wide as a phone, so that its letters are readable there; a page for a wider screen
puts two beside each other. Figures are created directly and not through pyplot, which keeps every
figure in memory and looks for a display.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from puffin.models.arrays import Floats

# Width of a figure in inches, and size of its letters in points: at a width of 390 pixels a point
# is more than a pixel.
WIDTH, TEXT = 5.0, 11
# Letters are drawn as paths, so that a figure looks the same whichever fonts are installed. Element
# names are derived from a fixed salt, so that equal figures are equal bytes.
_SVG: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": "puffin-tuner"}
# Near Okabe and Ito's colours, which colour-blind readers can tell apart and which differ in grey
# too, but dark enough for letters.
BLUE, ORANGE = "#0072b2", "#b84f00"
INK, GREY, PALE, TRUTH = "#222222", "#6e6e6e", "#b5b5b5", "#8c8c8c"
GRID, SHADE, PAPER = "#e4e4e4", "#e9eef2", "#ffffff"
# Variables of the page's style sheet, which has other values of them in the dark.
PALETTE = {
    BLUE: "blue",
    ORANGE: "orange",
    INK: "ink",
    GREY: "grey",
    PALE: "pale",
    TRUTH: "truth",
    GRID: "grid",
    SHADE: "shade",
    PAPER: "paper",
}
# Most ticks of a vertical axis, and height of a line of letters with its leading, in points.
_TICKS, _LEADING = 5, 14
# Quantile of the values that sets the upper limit, and the margin as a share of the range.
_SHARE, _MARGIN = 0.9, 0.06


@dataclass(frozen=True)
class Drawing:
    """A figure and its title, which stands above it on the page; the caption if not the usual."""

    figure: Figure
    title: str
    caption: str | None = None


def new_figure(height: float) -> Figure:
    """Return an empty figure of the common width, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor=PAPER)


def style_axes(axes: Axes, x: str, y: str) -> None:
    """Set the labels of axes, and remove lines that carry no information.

    The label of the vertical axis lies on top, where it needs no width.
    """
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_title(y, loc="left", fontsize=TEXT, color=GREY)
    axes.tick_params(labelsize=TEXT, labelcolor=INK, color=GREY)
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    formatter = axes.yaxis.get_major_formatter()
    if isinstance(formatter, ScalarFormatter):
        axes.yaxis.set_major_locator(MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10], min_n_ticks=4))
        # Write each tick in full, without an offset or a power of ten beside the axis.
        formatter.set_useOffset(False)
        formatter.set_scientific(False)


@dataclass(frozen=True)
class Name:
    """The name of a line, written at its right end."""

    y: float
    text: str
    colour: str


def name_lines(axes: Axes, names: Sequence[Name]) -> None:
    """Write names to the right of the axes at the heights of their lines, without overlap.

    Call it after the limits of the axes are set.
    """
    low, high = axes.get_ylim()
    # The height after the layout, nearly: these names take part in it.
    points = axes.get_window_extent().height * 72 / axes.figure.dpi
    ordered = sorted(names, key=lambda name: name.y)
    lines = [1 + name.text.count("\n") for name in ordered]
    wanted = [float(np.clip((name.y - low) / (high - low), 0, 1)) for name in ordered]
    for name, place in zip(
        ordered, _apart(wanted, [_LEADING * n / points for n in lines]), strict=True
    ):
        axes.annotate(
            name.text,
            (1, place),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT,
            color=name.colour,
            annotation_clip=False,
        )


def _apart(wanted: list[float], heights: list[float]) -> list[float]:
    """Return ascending places that are near those wanted and leave room for the heights."""
    places: list[float] = []
    least = 0.0
    for place, height in zip(wanted, heights, strict=True):
        places.append(max(place, least + height / 2))
        least = places[-1] + height / 2
    most = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], most - heights[i] / 2)
        most = places[i] - heights[i] / 2
    return places


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
