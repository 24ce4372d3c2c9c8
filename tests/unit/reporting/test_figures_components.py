"""Figures of ensembles of components and of samples: what they draw and what they refuse."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from mode_connectivity.reporting.figures.components import (
    benton2021_figure8,
    benton2021_figure_a3,
    benton2021_figure_a4b,
    benton2021_figure_a5,
    benton2021_figure_a7,
)
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.settings import UserError


def table(published=True, datasets=("Digits",)) -> pd.DataFrame:
    rows = []
    for dataset in datasets:
        for method, error in (("Deep ensemble", 6.0), ("2-simplex", 5.0)):
            for count in (1, 2, 3):
                value = error - 0.5 * count
                rows.append(
                    {
                        "dataset": dataset,
                        "network": "VGG-16",
                        "method": method,
                        "components": count,
                        "members": count,
                        "runs": 1,
                        "interval": "examples",
                        "test_error": value,
                        "test_error_low": value - 0.2,
                        "test_error_high": value + 0.3,
                        "test_error_published": 7.0 - 0.1 * count if published else np.nan,
                        "published_dataset": "CIFAR-10" if published else None,
                        "published_network": "VGG-16" if published else None,
                        "note_published": "uncertain" if published and count == 3 else "",
                        "seconds": 100.0 * count,
                        "seconds_published": 6000.0 * count if published else np.nan,
                    }
                )
    return pd.DataFrame(rows)


def lines(axis, points):
    return [line for line in axis.lines if len(line.get_xdata()) == points]


def test_ours_and_the_published_errors_have_panels_of_their_own():
    figure, numbers = benton2021_figure8(table())
    ours, published = figure.axes
    assert ours.get_title() == "Ours: VGG-16, Digits"
    assert published.get_title() == "Published: VGG-16, CIFAR-10 (hollow: uncertain)"
    assert [list(line.get_ydata()) for line in lines(ours, 3)] == [[5.5, 5.0, 4.5], [4.5, 4.0, 3.5]]
    assert list(lines(published, 3)[0].get_ydata()) == pytest.approx([6.9, 6.8, 6.7])
    hollow = [line for line in lines(published, 1) if line.get_markerfacecolor() == "white"]
    assert [float(line.get_xdata()[0]) for line in hollow] == [3.0, 3.0]
    assert len(numbers) == 6
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "Deep ensemble",
        "2-simplex",
    ]


def test_intervals_are_drawn_beside_each_other():
    figure, _ = benton2021_figure8(table())
    segments = [np.array(bars.get_segments()) for bars in figure.axes[0].collections]
    np.testing.assert_allclose(segments[0][0, :, 1], [5.3, 5.8])
    assert segments[0][0, 0, 0] < 1 < segments[1][0, 0, 0]


def test_without_published_values_there_is_a_panel_a_network():
    figure, _ = benton2021_figure8(table(published=False, datasets=("Digits", "Few digits")))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["VGG-16, Digits", "VGG-16, Few digits"]


def test_against_time():
    figure, numbers = benton2021_figure_a7(table())
    ours, published = figure.axes
    assert list(lines(ours, 3)[0].get_xdata()) == [100.0, 200.0, 300.0]
    assert list(lines(published, 3)[0].get_xdata()) == [6000.0, 12000.0, 18000.0]
    assert {"seconds", "seconds_published"} <= set(numbers)
    assert ours.get_xlim()[0] == 0


def test_a_label_of_the_users_own_gets_a_style():
    other = table().replace({"method": {"2-simplex": "Our simplex"}})
    figure, _ = benton2021_figure8(other)
    colours = {to_rgba(line.get_color()) for line in lines(figure.axes[0], 3)}
    assert len(colours) == 2


def test_errors_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="none of the 6 values"):
        benton2021_figure8(table().assign(test_error=np.nan))


def test_volume_has_a_logarithmic_scale():
    regularisation = pd.DataFrame(
        {
            "regularisation": [0.0, 1e-8, 3e-4],
            "members": 25,
            "runs": 1,
            "interval": "examples",
            "test_error": [5.0, 5.1, 5.2],
            "test_error_low": [4.0, 4.1, 4.2],
            "test_error_high": [6.0, 6.1, 6.2],
            "member_test_error": [5.5, 5.6, 5.7],
            "log10_volume": [-3.0, 0.0, 2.0],
            "log10_volume_min": [-3.0, -1.0, 2.0],
            "log10_volume_max": [-3.0, 1.0, 2.0],
        }
    )
    figure, numbers = benton2021_figure_a3(regularisation)
    errors, volumes = figure.axes
    assert volumes.get_yscale() == "log"
    assert list(volumes.lines[0].get_ydata()) == pytest.approx([1e-3, 1.0, 100.0])
    labels = [text.get_text() for text in errors.get_xticklabels()]
    assert labels == ["0", "$10^{-8}$", r"$3 \cdot 10^{-4}$"]
    assert figure.legends[0].get_texts()[1].get_text() == "Ensemble of 25 samples"
    assert len(numbers) == 3


def test_fewer_members_go_on_as_a_thin_line():
    samples = pd.DataFrame(
        [
            ("Digits", "VGG-16", method, count, error, error - 1, error + 1)
            for method, most, error in (("Modes alone", 2, 6.0), ("Complex", 5, 5.0))
            for count in range(1, most + 1)
        ],
        columns=[
            *("dataset", "network", "method", "samples"),
            *("test_error", "test_error_low", "test_error_high"),
        ],
    )
    figure, _ = benton2021_figure_a4b(samples)
    (axis,) = figure.axes
    assert [list(line.get_xdata()) for line in axis.lines] == [[1, 2], [2, 5], [1, 2, 3, 4, 5]]
    assert len(axis.collections) == 1  # A band, where there are orders to speak of.


def plane(labels=("espro/1:w0", "espro/1:t1", "espro/1:t2")) -> Plane:
    x, y = np.meshgrid(np.linspace(-1.0, 5.0, 7), np.linspace(-1.0, 4.0, 6))
    level = 10 ** (0.1 * (x + y)).ravel()
    grid = pd.DataFrame({"x": x.ravel(), "y": y.ravel(), "train_nll": level, "test_error": level})
    points = pd.DataFrame(
        {
            "label": labels,
            "kind": ["endpoint", "connector", "connector"],
            "t": np.nan,
            "x": [0.0, 4.0, 2.0],
            "y": [0.0, 0.0, 3.0],
        }
    )
    return Plane("", grid, points)


def test_vertices_of_a_simplex_are_named_as_in_the_paper():
    figure, numbers = benton2021_figure_a5(plane())
    assert numbers.loc[numbers["kind"] == "endpoint", "label"].tolist() == [
        "w0",
        "theta1",
        "theta2",
    ]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"$w_{0}$", r"$\theta_{1}$", r"$\theta_{2}$"} <= set(texts)


def test_a_plane_through_networks_is_refused():
    with pytest.raises(UserError, match="three vertices of a simplex"):
        benton2021_figure_a5(plane(("few/1", "few/2", "few/3")))


def test_an_interval_of_two_runs_does_not_hide_the_rest():
    wide = table()
    wide.loc[1, ["runs", "test_error_low", "test_error_high"]] = [2, 0.0, 90.0]
    figure, numbers = benton2021_figure8(wide)
    low, high = figure.axes[0].get_ylim()
    assert 2.5 < low < 3.3 and 5.8 < high < 6.5
    assert numbers["test_error_high"].max() == 90.0
