"""The style of the figures: legible in grey, light to import, strict about names."""

import subprocess
import sys
from itertools import pairwise

import pytest
from matplotlib.colors import to_rgb

from mode_connectivity.reporting.style import (
    LINES,
    SCHEMES,
    line_style,
    ordered_styles,
    pair_style,
    scheme_style,
)
from mode_connectivity.settings import UserError


def test_lines_differ_in_colour_dashes_and_marker_so_that_grey_print_is_enough():
    assert len({style.marker for style in LINES.values()}) == len(LINES)
    assert len({style.colour for style in LINES.values()}) == len(LINES)
    lines = [LINES[name] for name in ("Segment", "Bezier", "Polychain", "Random segment")]
    assert len({style.dashes for style in lines}) == 4
    for style in LINES.values():
        red, green, blue = to_rgb(style.colour)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.65


def luminance(style):
    red, green, blue = to_rgb(style.colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_lines_with_an_order_darken_and_end_solid(count):
    styles = ordered_styles(count)
    assert len(styles) == count
    assert all(first > second for first, second in pairwise(map(luminance, styles)))
    assert luminance(styles[0]) < 0.7
    assert styles[-1].dashes == "-" and luminance(styles[-1]) < 0.2
    assert len({style.marker for style in styles[-4:]}) == min(4, count)


def test_pairs_and_schemes_can_be_told_apart():
    pairs = [pair_style(index) for index in range(6)]
    assert len({style.marker for style in pairs}) == len({style.colour for style in pairs}) == 6
    assert all(luminance(style) < 0.7 for style in pairs)
    assert pair_style(6) == pairs[0]
    assert len({style.dashes for style in SCHEMES.values()}) == len(SCHEMES)
    with pytest.raises(UserError, match=r"scheme 'SDG'.*did you mean 'SGD"):
        scheme_style("SDG")


def test_an_unknown_curve_is_named_with_its_neighbour():
    with pytest.raises(UserError, match=r"'Bézier'.*did you mean 'Bezier'"):
        line_style("Bézier")


def test_markers_of_a_short_line_are_all_drawn():
    assert LINES["Bezier"].keywords(5)["markevery"] == (0, 1)
    assert LINES["Bezier"].keywords(11, 6)["markevery"] == (0, 1)
    assert LINES["Bezier"].keywords(121, 6)["markevery"] == (6, 15)


def test_figures_start_without_torch_pyplot_or_seaborn():
    code = (
        "import sys, mode_connectivity.reporting.figures.garipov2018;"
        "print([m for m in ('torch', 'seaborn', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
