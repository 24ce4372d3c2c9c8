"""The figures of Garipov et al. 2018 on curves: their numbers, and that they can be read."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from mode_connectivity.reporting.figures import garipov2018
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.reporting.style import COLUMN_WIDTH, LINES, SMALL, TEXT_WIDTH
from mode_connectivity.reporting.temperature import CurveEnsemble
from mode_connectivity.settings import UserError

T = np.linspace(0, 1, 61)
BUMP = np.sin(np.pi * T) ** 2
BARRIER = np.exp(-(((T - 0.5) / 0.25) ** 4))


def plane(title, height, bend, curve=None):
    """Return a plane with a valley of the loss along the curve, or around three optima."""
    ends = np.array([[0.0, 0.0], [60.0, 0.0]])
    bottom = np.vstack([ends, bend]) if curve is None else curve
    x, y = np.meshgrid(np.linspace(-12, 72, 21), np.linspace(-0.2, 1.2, 21) * height)
    x, y = x.ravel(), y.ravel()
    distance = np.hypot(x[:, None] - bottom[:, 0], y[:, None] - bottom[:, 1]).min(axis=1)
    hill = 1 - np.exp(-((distance / 12) ** 2))
    grid = pd.DataFrame(
        {"x": x, "y": y, "train_loss": 0.07 + 8 * hill, "test_error": 24 + 75 * hill}
    )
    marks = [("endpoint", np.nan, *end) for end in ends] + [("bend", np.nan, *bend)]
    if curve is not None:
        marks += [("curve", t, *point) for t, point in zip(T, curve, strict=True)]
    return Plane(title, grid, pd.DataFrame(marks, columns=["kind", "t", "x", "y"]))


def three_planes():
    t, w1, w2 = T[:, None], np.array([0.0, 0.0]), np.array([60.0, 0.0])
    bend, corner = np.array([33.0, 76.0]), np.array([28.0, 46.0])
    bezier = (1 - t) ** 2 * w1 + 2 * t * (1 - t) * bend + t**2 * w2
    chain = np.where(
        t < 0.5, (1 - 2 * t) * w1 + 2 * t * corner, (2 - 2 * t) * corner + (2 * t - 1) * w2
    )
    return (
        plane("Three optima", 52.0, np.array([30.0, 52.0])),
        plane("Bezier curve", 76.0, bend, bezier),
        plane("Polygonal chain", 46.0, corner, chain),
    )


def grids():
    def grid(error, loss):
        return pd.DataFrame(
            {"t": T, "train_error": 0.4 + error, "train_loss": loss, "test_error": 24 + error}
        )

    return {
        "Segment": grid(75 * BARRIER, 0.08 + 6 * BARRIER),
        "Bezier": grid(0.5 * BUMP, 0.08 + 0.01 * BUMP),
        "Polychain": grid(BUMP, 0.08 + 0.03 * BUMP),
    }


def ensemble():
    points = pd.DataFrame({"t": T, "test_nll": 1 + 0.3 * BUMP, "test_nll_rescaled": 1 + 0.1 * BUMP})
    return CurveEnsemble(points.assign(logit_scale=1.0), 50, 21.03, 20.7, 0.9, 0.8)


def widths(factors=(0.3, 0.5, 0.8, 1.0)):
    curves = []
    for factor in factors:
        loss = 0.05 / factor + 0.03 / factor**2 * BUMP + 0.001 * T
        grid = pd.DataFrame({"t": T, "train_loss": loss, "length": 52 * T / factor**0.1})
        curves.append(garipov2018.WidthCurve(factor, grid, 40.0))
    return curves


def path(error):
    wide = 0.5 * np.minimum(1, 5 * T)
    return pd.DataFrame(
        {
            "t": T,
            "test_error": error,
            "test_error_low": error - wide,
            "test_error_high": error + wide,
            "two_ends_difference": error - error[-1],
            "two_ends_difference_low": error - error[-1] - wide,
            "two_ends_difference_high": error - error[-1] + wide,
        }
    )


def paths():
    return {
        "Segment": path(25 - 3 * T**8 + 9 * BUMP**2),
        "Polychain": path(25 - 3 * np.clip((T - 0.1) / 0.3, 0, 1)),
        "Random segment": path(25 + 40 * T**2),
    }


def trivial():
    scale = np.abs(2 * T - 1)
    return pd.DataFrame(
        {
            "t": T,
            "norm": 50 * scale,
            "test_error": np.select([scale == 0, T < 0.5], [90.0, 7.0], 6.8),
            "train_loss": 0.05 + 2.25 * np.exp(-((scale / 0.5) ** 4)),
        }
    )


FIGURES = {
    "figure1": lambda: garipov2018.garipov2018_figure1(*three_planes(), title="VGG-16, CIFAR-10"),
    "figure2": lambda: garipov2018.garipov2018_figure2(grids(), ensemble()),
    "figure3": lambda: garipov2018.garipov2018_figure3(widths()),
    "figure4": lambda: garipov2018.garipov2018_figure4(paths()),
    "figure7": lambda: garipov2018.garipov2018_figure7(*three_planes()),
    "trivial_path": lambda: garipov2018.garipov2018_trivial_path(trivial()),
}
COLUMN_FIGURES = {"figure3", "figure4"}


def drawn_texts(figure):
    out_of_view = set()
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    out_of_view |= {tick.label1, tick.label2}
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    return [text for text in texts if text not in out_of_view]


@pytest.mark.parametrize("name", FIGURES)
def test_everything_written_is_legible_inside_the_page_and_clear_of_the_data(name):
    figure, _ = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width = COLUMN_WIDTH if name in COLUMN_FIGURES else TEXT_WIDTH
    assert figure.get_figwidth() == width
    renderer = canvas.get_renderer()
    page = figure.bbox
    for text in drawn_texts(figure):
        assert text.get_fontsize() >= SMALL, text.get_text()
        box = text.get_window_extent(renderer)
        assert box.x0 > page.x0 - 1 and box.x1 < page.x1 + 1, text.get_text()
        assert box.y0 > page.y0 - 1 and box.y1 < page.y1 + 1, text.get_text()
    for axis in figure.axes:
        if axis.get_label() != "<colorbar>":
            assert axis.get_window_extent().width > 72 * width / 5
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        assert not any(box.overlaps(axis.get_window_extent()) for axis in figure.axes)
    for axis in figure.axes:
        legend = axis.get_legend()
        for line in axis.lines if legend else ():
            drawn = line.get_transform().transform(line.get_xydata())
            assert not legend.get_window_extent(renderer).count_contains(drawn)


def test_figure1_draws_each_curve_in_its_own_colour_and_clips_as_told():
    figure, numbers = garipov2018.garipov2018_figure1(*three_planes(), train_loss_clip=3.0)
    _, bezier, chain, bar = figure.axes
    assert to_rgba(bezier.lines[1].get_color()) == to_rgba(LINES["Bezier"].colour)
    assert to_rgba(chain.lines[1].get_color()) == to_rgba(LINES["Polychain"].colour)
    assert bar.get_ylabel() == "Train loss\nclipped at 3"
    assert "test_error" not in numbers
    labels = numbers.loc[numbers["label"] != "", ["panel", "label"]].to_numpy().tolist()
    assert labels[:3] == [["Three optima", name] for name in ("w1", "w2", "w3")]
    assert labels[3:6] == [["Bezier curve", name] for name in ("w1", "w2", "theta")]


def test_figure7_has_a_row_of_losses_above_a_row_of_errors():
    figure, numbers = garipov2018.garipov2018_figure7(*three_planes(), test_error_clip=30.0)
    bars = [axis.get_ylabel() for axis in figure.axes if axis.get_label() == "<colorbar>"]
    assert bars == ["Train loss\nclipped at 5", "Test error (%)\nclipped at 30"]
    grid = three_planes()[2].grid
    drawn = numbers[(numbers["panel"] == "Polygonal chain") & (numbers["kind"] == "grid")]
    np.testing.assert_array_equal(drawn["test_error"], grid["test_error"])
    assert garipov2018.garipov2018_figure8 is garipov2018.garipov2018_figure7


def test_figure2_draws_the_grids_and_the_ensembles():
    figure, numbers = garipov2018.garipov2018_figure2(grids(), ensemble())
    assert numbers["curve"].unique().tolist() == [
        "Segment", "Bezier", "Polychain", "Ensemble of 50 points", "Ensemble, rescaled logits",
    ]  # fmt: skip
    for name, grid in grids().items():
        drawn = numbers[numbers["curve"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(drawn[list(grid.columns)], grid)
        nll = ensemble().points["test_nll_rescaled"] if name == "Polychain" else [np.nan] * len(T)
        np.testing.assert_array_equal(drawn["test_nll_rescaled"], nll)
    assert numbers["test_error"].tolist()[-2:] == [21.03, 20.7]
    assert numbers["t"].isna().sum() == 2
    train_error, train_loss, test_error, nll = figure.axes
    for axis, column in ((train_error, "train_error"), (train_loss, "train_loss")):
        for line, grid in zip(axis.lines, grids().values(), strict=False):
            np.testing.assert_array_equal(line.get_ydata(), grid[column])
        assert axis.get_shared_x_axes().joined(axis, nll)
    horizontal = [
        line.get_ydata()[0] for line in test_error.lines if len(set(line.get_ydata())) == 1
    ]
    assert {21.03, 20.7} <= set(horizontal)
    np.testing.assert_array_equal(nll.lines[0].get_ydata(), ensemble().points["test_nll"])


def test_figure2_gives_most_of_its_height_to_the_curves_and_hides_nothing_of_the_segment():
    figure, _ = garipov2018.garipov2018_figure2(grids(), ensemble())
    FigureCanvasAgg(figure).draw()
    test_error = figure.axes[2]
    bottom, top = test_error.get_ylim()
    assert bottom < 20.7 and top > 99

    def height(value):
        return test_error.transAxes.inverted().transform(
            test_error.transData.transform((0, value))
        )[1]

    assert height(25) - height(20.7) > 0.5
    assert height(99) - height(30) < 0.35


def test_figure2_keeps_every_number_of_an_ensemble_on_another_grid():
    t = np.linspace(0, 1, 50)
    points = pd.DataFrame({"t": t, "test_nll": 1 + t, "test_nll_rescaled": 1 + t / 2})
    other = CurveEnsemble(points, 50, 21.03, 20.7, 0.9, 0.8)
    _, numbers = garipov2018.garipov2018_figure2(grids(), other)
    chain = numbers[numbers["curve"] == "Polychain"]
    assert chain["t"].is_monotonic_increasing
    np.testing.assert_array_equal(chain["test_nll"].dropna(), points["test_nll"])
    np.testing.assert_array_equal(chain["train_loss"].dropna(), grids()["Polychain"]["train_loss"])
    # Both grids hold t = 0 and t = 1.
    assert len(chain) == len(T) + 50 - len(set(T) & set(t))


def test_figure2_masks_points_that_are_not_finite_and_says_so(caplog):
    tables = grids()
    tables["Bezier"].loc[[3, 4], "train_loss"] = [np.nan, np.inf]
    figure, numbers = garipov2018.garipov2018_figure2(tables, ensemble())
    assert figure.axes[1].get_title() == "Bezier: 3.3 % not finite"
    assert figure.axes[0].get_title() == ""
    assert numbers.loc[numbers["curve"] == "Bezier", "train_loss"].isna().sum() == 2
    assert "garipov2018_figure2, panel train_loss, Bezier: 2 of 61 values" in caplog.text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda tables: tables["Bezier"].pop("train_error"), "Bezier: no column 'train_error'"),
        (lambda tables: tables.update(Bezir=tables.pop("Bezier")), "did you mean 'Bezier'"),
        (lambda tables: tables.update(Bezier=grids()["Bezier"][::-1]), "not ascending"),
        (lambda tables: tables["Bezier"].update({"train_loss": np.nan}), "none of the 61 values"),
        (lambda tables: tables.clear(), "no curves"),
    ],
)
def test_figure2_names_the_table_that_cannot_be_drawn(change, text):
    tables = grids()
    if "none of" in text:
        tables["Bezier"]["train_loss"] = np.nan
    else:
        change(tables)
    with pytest.raises(UserError, match=text):
        garipov2018.garipov2018_figure2(tables, ensemble())


def test_figure3_by_hand():
    grid = pd.DataFrame({"t": [0, 0.5, 1], "train_loss": [0.2, 0.7, 0.3], "length": [0, 2.0, 6.0]})
    curves = [
        garipov2018.WidthCurve(1.0, grid, 4.0),
        garipov2018.WidthCurve(0.5, grid.assign(train_loss=[0.4, 0.9, 0.3]), 3.0),
    ]
    figure, numbers = garipov2018.garipov2018_figure3(curves)
    assert numbers.to_dict("list") == {
        "width_factor": [0.5, 1.0],
        "worst_train_loss": [0.9, 0.7],
        "endpoint_train_loss": [0.4, 0.3],
        "length_ratio": [2.0, 1.5],
    }
    losses, ratios = figure.axes
    assert losses.get_shared_x_axes().joined(losses, ratios)
    np.testing.assert_array_equal(losses.lines[0].get_xydata(), [[0.5, 0.9], [1, 0.7]])
    np.testing.assert_array_equal(ratios.lines[0].get_xydata(), [[0.5, 2], [1, 1.5]])


def test_figure3_draws_the_mean_of_several_runs_and_each_of_them():
    grid = pd.DataFrame({"t": [0, 1], "train_loss": [0.2, 0.3], "length": [0, 6.0]})
    curves = [garipov2018.WidthCurve(1.0, grid, distance) for distance in (3.0, 6.0)]
    figure, numbers = garipov2018.garipov2018_figure3(curves)
    assert sorted(numbers["length_ratio"]) == [1.0, 2.0]
    mean, runs = figure.axes[1].lines
    assert mean.get_ydata().tolist() == [1.5]
    assert sorted(runs.get_ydata()) == [1.0, 2.0]


def test_figure3_refuses_curves_without_a_worst_point_or_a_distance():
    curve = widths()[0]
    with pytest.raises(UserError, match=r"K = 0\.3: the endpoints are 0 apart"):
        garipov2018.garipov2018_figure3([garipov2018.WidthCurve(0.3, curve.grid, 0.0)])
    curve.grid.loc[5, "train_loss"] = np.nan
    with pytest.raises(UserError, match="1 of 61 train losses are not finite"):
        garipov2018.garipov2018_figure3([curve])
    with pytest.raises(UserError, match="no curves"):
        garipov2018.garipov2018_figure3([])


def test_figure4_draws_bands_and_reference_lines():
    figure, numbers = garipov2018.garipov2018_figure4(paths())
    for name, table in paths().items():
        drawn = numbers[numbers["curve"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(drawn[list(table.columns)], table)
    # The first network alone, and both endpoints: the chain's ensemble at t = 0 and at t = 1.
    assert numbers[numbers["t"].isna()][["curve", "test_error"]].to_numpy().tolist() == [
        ["Single network", 25.0],
        ["Two endpoints", 22.0],
    ]
    axis = figure.axes[0]
    assert len(axis.collections) == 3
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*paths(), "Single network", "Two endpoints", "95 % interval, paired"]


def test_trivial_path_sets_the_origin_apart():
    figure, numbers = garipov2018.garipov2018_trivial_path(trivial())
    pd.testing.assert_frame_equal(
        numbers[["t", "test_error", "train_loss"]], trivial()[["t", "test_error", "train_loss"]]
    )
    assert numbers.loc[numbers["origin"], "t"].tolist() == [0.5]
    errors, losses = figure.axes
    assert np.isnan(errors.lines[0].get_ydata()[30])
    assert np.nanmax(errors.lines[0].get_ydata()) == 7.0
    assert errors.lines[1].get_ydata().tolist() == [90.0]
    assert losses.get_yscale() == "log"
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), trivial()["train_loss"])
    with pytest.raises(UserError, match="no column 'norm'"):
        garipov2018.garipov2018_trivial_path(trivial().drop(columns="norm"))
