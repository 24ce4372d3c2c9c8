"""The figures of Benton et al. 2021: what they draw and what they refuse."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from mode_connectivity.reporting.figures.benton2021 import benton2021_figure2
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.reporting.style import ORANGE
from mode_connectivity.settings import UserError

WIDTH, HEIGHT = 4.0, 3.0
SAMPLES = np.array([[1.8, 2.8], [2.4, 2.2], [2.0, 3.3]])


def plane(labels=("1", "2", "3")) -> Plane:
    """A lattice whose loss grows with y, from 0.01 to 10 in both quantities."""
    x, y = np.meshgrid(np.linspace(-0.8, 4.8, 9), np.linspace(-0.6, 3.6, 9))
    level = 10 ** (-2 + 3 * (y.ravel() + 0.6) / 4.2)
    grid = pd.DataFrame({"x": x.ravel(), "y": y.ravel(), "train_nll": level, "test_error": level})
    rows = [
        ("a", "endpoint", np.nan, 0.0, 0.0, 0.0),
        ("b", "endpoint", np.nan, WIDTH, 0.0, 0.0),
        ("c", "bend", np.nan, 2.0, HEIGHT, 0.0),
        *(("", "curve", t, 4 * t, HEIGHT * (1 - abs(2 * t - 1)), 0.0) for t in (0.0, 0.5, 1.0)),
        *(
            (label, "sample", np.nan, px, py, 1.0 + index)
            for index, (label, (px, py)) in enumerate(zip(labels, SAMPLES, strict=True))
        ),
    ]
    points = pd.DataFrame(rows, columns=["label", "kind", "t", "x", "y", "distance"])
    points.insert(5, "epoch", np.nan)
    return Plane("", grid, points)


def samples(**changes) -> pd.DataFrame:
    columns = {
        "sample": [1, 2, 3],
        "train_nll": [0.011, 0.5, 9.0],
        "train_error": [0.0, 0.25, 1.5],
        "test_nll": [0.3, 0.4, 0.5],
        "test_error": [0.02, 9.5, 200.0],
    }
    return pd.DataFrame({**columns, **changes})


def orange_lines(axis):
    return [line for line in axis.lines if line.get_color() == ORANGE]


def test_samples_and_their_chains_lie_where_they_are_projected() -> None:
    figure, numbers = benton2021_figure2(plane(), samples(), title="VGG-16")
    panels = figure.axes[:2]
    for axis, column in zip(panels, ("train_nll", "test_error"), strict=True):
        chains = [line.get_xydata() for line in orange_lines(axis)]
        assert len(chains) == 3
        for chain, sample in zip(chains, SAMPLES, strict=True):
            np.testing.assert_allclose(chain, [[0, 0], sample, [WIDTH, 0]])
        dots = [
            line
            for line in axis.lines
            if line.get_marker() == "o" and len(line.get_xdata()) == 1 and line.get_ydata()[0] > 1
        ]
        np.testing.assert_allclose([dot.get_xydata()[0] for dot in dots], SAMPLES)
        # The colour is that of the sample's own value: the lowest band, and the highest.
        bar = figure.axes[2 + panels.index(axis)]
        bands = [to_rgba(colour) for colour in bar.collections[-1].cmap.colors]
        colours = [to_rgba(dot.get_color()) for dot in dots]
        assert colours[0] in bands[:2], column
        assert colours[0] != colours[1]
    drawn = numbers[numbers["kind"] == "sample"]
    assert drawn["label"].tolist() == ["1", "2", "3"]
    for column in ("train_nll", "train_error", "test_nll", "test_error"):
        assert drawn[column].tolist() == samples()[column].tolist()
    assert drawn["distance"].tolist() == [1.0, 2.0, 3.0]
    assert numbers.loc[numbers["kind"] == "grid", "train_error"].isna().all()
    assert figure.get_suptitle().splitlines() == [
        "VGG-16",
        "Samples: train error 0 to 1.5 %, test error 0.02 to 200 %",
    ]
    assert (
        "3 samples" in figure.get_supxlabel() and "1 to 3 off the plane" in figure.get_supxlabel()
    )


def test_samples_far_from_the_lattice_are_counted() -> None:
    far = plane()
    far.points.loc[far.points["label"] == "2", "y"] = 50.0
    figure, _ = benton2021_figure2(far, samples())
    assert "1 samples out of sight" in figure.axes[0].get_title()
    assert figure.axes[0].get_ylim()[1] < 10


@pytest.mark.parametrize(
    ("panel", "table", "message"),
    [
        (plane(labels=("1", "3", "2")), samples(), "3 samples on the plane, 3 that were measured"),
        (plane(), samples().iloc[:2], "3 samples on the plane, 2 that were measured"),
        (plane(), samples().drop(columns="train_error"), "no column 'train_error'"),
    ],
)
def test_samples_of_another_plane_are_refused(panel, table, message) -> None:
    with pytest.raises(UserError, match=message):
        benton2021_figure2(panel, table)
