"""What all figures share: sizes, type, colours and line styles.

Every figure is drawn at its final size (a column or the width of the page), so a font size given
here is the one on paper. Colours are those of Okabe and Ito, which colour-blind readers can tell
apart; dashes and markers tell the same lines apart in grey.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib
import matplotlib.style
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mode_connectivity.settings import UserError, nearest

COLUMN_WIDTH = 3.25
"""Inches."""
TEXT_WIDTH = 6.75
"""Inches, both columns."""
SMALL = 7.0
"""Points, the smallest type on paper."""

BLACK, GREY = "#000000", "#666666"
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
MODE_COLOUR, CONNECTOR_COLOUR = BLUE, ORANGE
"""Of the vertices of a complex, as in figure 4 of Benton et al. 2021."""
COLOUR_MAP = "viridis"
"""Perceptually uniform, ordered in lightness: it survives grey print and colour blindness."""

_Dashes = Literal["-"] | tuple[float, tuple[float, ...]]

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.borderaxespad": 0.3,
    "hatch.linewidth": 0.4,
}


@dataclass(frozen=True)
class LineStyle:
    """How one line is drawn, in every figure in which it appears."""

    colour: str
    dashes: _Dashes
    marker: str

    def keywords(self, points: int, first_marker: int = 0) -> dict[str, Any]:
        """Return arguments for ``Axes.plot``.

        Args:
            points: Number of points of the line; about eight of them get a marker.
            first_marker: Where they begin, so that the markers of close lines do not coincide.
        """
        step = max(1, points // 8)
        return {
            "color": self.colour,
            "linestyle": self.dashes,
            "marker": self.marker,
            "markevery": (first_marker % step, step),
        }


LINES: dict[str, LineStyle] = {
    "Segment": LineStyle(GREY, (0, (4, 1.5)), "s"),
    "Bezier": LineStyle(BLUE, "-", "o"),
    "Polychain": LineStyle(VERMILLION, (0, (6, 1.2, 1.2, 1.2)), "^"),
    "Random segment": LineStyle(GREEN, (0, (1.2, 1.2)), "D"),
    "Trivial path": LineStyle(PURPLE, "-", "v"),
    "Aligned segment": LineStyle(ORANGE, (0, (3, 1.2)), "P"),
}

METHODS: dict[str, LineStyle] = {
    "Ind": LineStyle(GREY, (0, (4, 1.5)), "s"),
    "SSE": LineStyle(VERMILLION, (0, (6, 1.2, 1.2, 1.2)), "^"),
    "FGE": LineStyle(BLUE, "-", "o"),
    "SWA": LineStyle(GREEN, (0, (1.2, 1.2)), "v"),
    "ESPRO": LineStyle(BLUE, "-", "o"),
    "Deep ensemble": LineStyle(GREY, (0, (4, 1.5)), "s"),
    "MultiSWA": LineStyle(GREEN, (0, (1.2, 1.2)), "v"),
    "MultiSWAG": LineStyle(VERMILLION, (0, (6, 1.2, 1.2, 1.2)), "^"),
    "1-simplex": LineStyle(VERMILLION, (0, (6, 1.2, 1.2, 1.2)), "^"),
    "2-simplex": LineStyle(BLUE, "-", "o"),
    "Modes alone": LineStyle(GREY, (0, (4, 1.5)), "s"),
    "Complex": LineStyle(BLUE, "-", "o"),
}
"""By the titles that methods of ensembling have in tables."""


SCHEMES: dict[str, LineStyle] = {
    "SGD": LineStyle(GREY, (0, (4, 1.5)), "s"),
    "SGDR": LineStyle(BLUE, "-", "o"),
}
"""By the names of learning rate schemes in Gotmare et al. 2018."""

SEGMENT_DASHES: _Dashes = (0, (3.5, 1.5))
"""Where several curves stand beside their segments in one panel: a colour a pair."""

_PAIRS = (
    LineStyle(BLUE, "-", "o"),
    LineStyle(VERMILLION, "-", "^"),
    LineStyle(GREEN, "-", "s"),
    LineStyle(PURPLE, "-", "D"),
    LineStyle(ORANGE, "-", "v"),
    LineStyle(BLACK, "-", "X"),
)

_STEPS: tuple[tuple[_Dashes, str], ...] = (
    ((0, (1.2, 1.2)), "v"),
    ((0, (3, 1.2)), "s"),
    ((0, (6, 1.2, 1.2, 1.2)), "^"),
    ("-", "o"),
)


def line_style(name: str) -> LineStyle:
    """Return the style of a named curve.

    Raises:
        UserError: If no such curve is known.
    """
    return _style(name, LINES, "curve")


def method_style(name: str) -> LineStyle:
    """Return the style of a method of ensembling.

    Raises:
        UserError: If no such method is known.
    """
    return _style(name, METHODS, "method")


def method_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """Return a style for each method of a panel, also for names that a user has given.

    Args:
        names: all methods of the panel.
    """
    if all(name in METHODS for name in names):
        return {name: METHODS[name] for name in names}
    return {name: pair_style(index) for index, name in enumerate(names)}


def scheme_style(name: str) -> LineStyle:
    """Return the style of a learning rate scheme.

    Raises:
        UserError: If no such scheme is known.
    """
    return _style(name, SCHEMES, "learning rate scheme")


def pair_style(index: int) -> LineStyle:
    """Return the style of the index-th pair of networks of a panel; they repeat after six."""
    return _PAIRS[index % len(_PAIRS)]


def ordered_styles(count: int) -> list[LineStyle]:
    """Return styles of lines that have an order, such as the epochs of a training.

    They go from light to dark, and to a solid line at the end.

    Args:
        count: Number of lines.
    """
    places = [0.72 * (count - 1 - index) / max(1, count - 1) for index in range(count)]
    steps = [_STEPS[(index - count) % len(_STEPS)] for index in range(count)]
    return [
        LineStyle(to_hex(matplotlib.colormaps[COLOUR_MAP](place)), dashes, marker)
        for place, (dashes, marker) in zip(places, steps, strict=True)
    ]


def _style(name: str, styles: Mapping[str, LineStyle], kind: str) -> LineStyle:
    if name not in styles:
        raise UserError(
            f"figures: no line style for the {kind} {name!r}; known are {', '.join(styles)}"
            f"{nearest(name, styles)}; use one of these names, or add a style to reporting/style.py"
        )
    return styles[name]


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the style of this module, whatever the user's matplotlib settings are."""
    with matplotlib.style.context(["default", _RC]):
        yield


_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def styled(draw: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Make a function draw in the style of this module."""

    @wraps(draw)
    def wrapper(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with paper_style():
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """Return an empty figure of a size in inches that belongs to no window.

    Args:
        width: `COLUMN_WIDTH` or `TEXT_WIDTH`.
        height: Inches.
        title: A line above all panels, such as the network and the data set.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(width, height), layout=layout)
    if title:
        figure.suptitle(title)
    return figure
