"""Planes: contour levels, the lattice, marks and shared scales."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Annotation

from mode_connectivity.reporting.figures.planes import (
    Plane,
    Surface,
    contour_levels,
    draw_planes,
    symbol,
)
from mode_connectivity.reporting.style import COLUMN_WIDTH, TEXT_WIDTH
from mode_connectivity.settings import UserError

LOSS = Surface("train_loss", "Train loss", clip=5.0, first_step=0.01)
ERROR = Surface("test_error", "Test error (%)", clip=40.0, first_step=0.5)


def grid(width=3.0, height=2.0, points=15, valley=0.1):
    """Return a lattice with quadratic valleys of the loss around (0, 0) and (width, 0)."""
    x, y = np.meshgrid(
        np.linspace(-0.2, 1.2, points) * width, np.linspace(-0.2, 1.2, points) * height
    )
    x, y = x.ravel(), y.ravel()
    distance = np.minimum(np.hypot(x, y), np.hypot(x - width, y))
    return pd.DataFrame(
        {
            "x": x,
            "y": y,
            "train_loss": valley + 4 * distance**2,
            "test_error": 5 + 20 * distance**2,
        }
    )


def points(width=3.0, height=2.0, third="bend", curve=True):
    rows = [("endpoint", np.nan, 0.0, 0.0), ("endpoint", np.nan, width, 0.0)]
    rows.append((third, np.nan, 1.0, height))
    if curve:
        rows += [("curve", t, width * t, 2 * t * (1 - t) * height) for t in (0.0, 0.5, 1.0)]
    return pd.DataFrame(rows, columns=["kind", "t", "x", "y"])


def planes():
    optima = Plane("Optima", grid(valley=0.2), points(third="endpoint", curve=False))
    return [optima, Plane("Curve", grid(height=4.0), points(height=4.0), curve="Bezier")]


def draw(panels, surfaces=(LOSS,), **options):
    return draw_planes(panels, surfaces, where="a figure", **options)


def panels_of(figure):
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def contours_of(axis):
    """Return the filled contours and the contour lines of a panel."""
    return [item for item in axis.collections if hasattr(item, "levels")]


def test_levels_grow_geometrically_above_the_lowest_value():
    # Steps 0.01, 0.1, 1, 10 above 2.
    assert contour_levels(2.0, 12.0, 0.01, 4) == [2.0, 2.01, 2.1, 3.0, 12.0]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0677, 4.913), (0.0, 40.0), (0.9, 0.90001), (7.0, 7.0), (95.2, 99.99)]
)
def test_levels_enclose_the_values_and_read_as_they_are(low, high):
    levels = contour_levels(low, high, 0.01, 7)
    assert len(levels) == 8
    assert all(np.diff(levels) > 0)
    assert levels[0] <= low and levels[-1] >= high
    assert levels[0] >= low - 0.1 * max(high - low, 0.1)
    assert all(float(f"{level:g}") == pytest.approx(level, rel=1e-5) for level in levels)


def test_numbers_are_the_input_unclipped_with_names_for_the_points():
    _, numbers = draw(planes(), [LOSS, ERROR])
    assert list(numbers.columns) == [
        "panel", "kind", "label", "t", "x", "y", "train_loss", "test_error",
    ]  # fmt: skip
    for plane in planes():
        drawn = numbers[(numbers["panel"] == plane.title) & (numbers["kind"] == "grid")]
        columns = ["x", "y", "train_loss", "test_error"]
        np.testing.assert_allclose(drawn[columns], plane.grid[columns], rtol=1e-12)
    assert numbers["train_loss"].max() > LOSS.clip
    marks = numbers[numbers["kind"] != "grid"]
    assert marks[marks["panel"] == "Optima"]["label"].tolist() == ["w1", "w2", "w3"]
    assert marks[marks["panel"] == "Curve"]["label"].tolist() == ["w1", "w2", "theta", "", "", ""]
    assert marks[marks["kind"] == "curve"]["y"].tolist() == [0, 2, 0]


def test_marks_curve_and_straight_lines_are_drawn_where_the_points_are():
    figure, _ = draw(planes())
    optima, curve = panels_of(figure)
    assert [text.get_text() for text in optima.texts[-3:]] == [
        r"$\hat{w}_{1}$",
        r"$\hat{w}_{2}$",
        r"$\hat{w}_{3}$",
    ]
    assert [text.xy for text in curve.texts[-3:]] == [(0, 0), (3, 0), (1, 4)]
    assert curve.texts[-1].get_text() == r"$\theta$"
    triangle, segment = optima.lines[0], curve.lines[0]
    np.testing.assert_array_equal(triangle.get_xydata(), [[0, 0], [3, 0], [1, 2], [0, 0]])
    np.testing.assert_array_equal(segment.get_xydata(), [[0, 0], [3, 0]])
    assert segment.is_dashed()
    np.testing.assert_array_equal(curve.lines[1].get_xydata(), [[0, 0], [1.5, 2], [3, 0]])


def test_endpoints_have_their_labels_below_despite_rounding():
    rounded = points()
    rounded.loc[1, "y"] = -1e-7
    figure, _ = draw([Plane("Curve", grid(), rounded, "Bezier")])
    first, second, bend = panels_of(figure)[0].texts[-3:]
    assert first.get_va() == second.get_va() == "top"
    assert bend.get_va() == "bottom"


def test_a_third_optimum_stored_in_the_place_of_a_bend_is_drawn_as_an_optimum():
    plane = Plane("Optima", grid(), points(third="bend"))
    _, numbers = draw([plane])
    assert numbers["label"].unique().tolist() == ["", "w1", "w2", "w3"]


def test_panels_share_the_axis_through_the_endpoints_and_one_colour_scale_a_row():
    figure, _ = draw(planes(), [LOSS, ERROR])
    axes = panels_of(figure)
    assert len(axes) == 4
    assert all(axes[0].get_shared_x_axes().joined(axes[0], axis) for axis in axes)
    for left, right in (axes[:2], axes[2:]):
        filled = [contours_of(axis)[0] for axis in (left, right)]
        np.testing.assert_array_equal(filled[0].levels, filled[1].levels)
        assert filled[0].get_clim() == filled[1].get_clim()
        np.testing.assert_array_equal(filled[0].get_facecolor(), filled[1].get_facecolor())
    assert len(figure.axes) == 4 + 2


def test_colours_follow_the_value_and_end_at_the_clip():
    figure, _ = draw(planes())
    filled = contours_of(panels_of(figure)[0])[0]
    colours = filled.get_facecolor()
    bar = next(axis for axis in figure.axes if axis.get_label() == "<colorbar>")
    lightness = colours[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert len(colours) == 8 and all(np.diff(lightness) > 0)
    assert bar.get_ylabel() == "Train loss\nclipped at 5"
    texts = [text.get_text() for text in bar.get_yticklabels()]
    # From the lowest loss of both panels, 0.2 and 0.1.
    assert len(texts) == 8 and texts[0] == "0.1" and texts[-1] == "5"
    figure, _ = draw(planes(), [Surface("train_loss", "Train loss", clip=3.333, first_step=0.01)])
    assert contours_of(panels_of(figure)[0])[1].levels[-1] < filled.levels[-1]
    bar = next(axis for axis in figure.axes if axis.get_label() == "<colorbar>")
    assert bar.get_yticklabels()[-1].get_text() == "3.333"
    figure, _ = draw(planes(), [Surface("train_loss", "Train loss", clip=1e3, first_step=0.01)])
    bar = next(axis for axis in figure.axes if axis.get_label() == "<colorbar>")
    assert bar.get_ylabel() == "Train loss"


def test_a_clip_below_all_values_is_ignored():
    worse = grid(valley=6.0)
    figure, _ = draw([Plane("Optima", worse, points(third="endpoint", curve=False))])
    bar = next(axis for axis in figure.axes if axis.get_label() == "<colorbar>")
    assert bar.get_ylabel() == "Train loss"
    assert float(bar.get_yticklabels()[0].get_text()) == 6
    assert float(bar.get_yticklabels()[-1].get_text()) >= worse["train_loss"].max()


def test_contour_labels_stand_on_the_contour_they_name():
    wide = grid(points=41)
    figure, _ = draw([Plane("Optima", wide, points(third="endpoint", curve=False))])
    axis = panels_of(figure)[0]
    labels = [text for text in axis.texts if not text.get_text().startswith("$")]
    assert labels
    for text in labels:
        x, y = text.get_position()
        distance = min(np.hypot(x, y), np.hypot(x - 3, y))
        assert 0.1 + 4 * distance**2 == pytest.approx(float(text.get_text()), rel=0.1)


def test_points_that_are_not_finite_are_grey_empty_and_counted(caplog):
    broken = grid()
    broken.loc[[0, 1, 15], "train_loss"] = [np.nan, np.inf, np.nan]
    figure, numbers = draw([Plane("Optima", broken, points(third="endpoint", curve=False))])
    axis = panels_of(figure)[0]
    assert axis.get_title() == "Optima\n1.3 % not finite"
    assert "3 of 225 values are not finite" in caplog.text
    assert numbers["train_loss"][[0, 1, 15]].isna().all()
    assert numbers.loc[numbers["kind"] == "grid", "train_loss"].notna().sum() == 222
    behind = axis.patches[0]
    assert behind.get_facecolor() == to_rgba("#BBBBBB")
    assert behind.get_bbox().extents.tolist() == pytest.approx([-0.6, -0.4, 3.6, 2.4])


def test_a_flat_surface_is_drawn():
    flat = grid().assign(test_error=10.0)
    figure, _ = draw([Plane("Optima", flat, points(third="endpoint", curve=False))], [ERROR])
    filled = contours_of(panels_of(figure)[0])[0]
    assert sum(len(path.vertices) > 0 for path in filled.get_paths()) == 1


def broken_grid(**columns):
    return Plane("Curve", grid().assign(**columns), points(), "Bezier")


@pytest.mark.parametrize(
    ("plane", "text"),
    [
        (Plane("Curve", grid().drop(columns="train_loss"), points(), "Bezier"), "'train_loss'"),
        (Plane("Curve", grid().drop(columns="y"), points(), "Bezier"), "grid: no column 'y'"),
        (Plane("Curve", grid().iloc[:-1], points(), "Bezier"), "224 rows are no full lattice"),
        (Plane("Curve", grid().sample(frac=1, random_state=0), points()), "no full lattice"),
        (Plane("Curve", grid().sort_values(["x", "y"]), points()), "no full lattice"),
        (Plane("Curve", grid().iloc[:0], points(), "Bezier"), "grid: no rows"),
        (broken_grid(train_loss=np.nan), "none of the 225 values is a finite"),
        (Plane("Curve", grid(), points().iloc[1:], "Bezier"), "1 endpoints; two are needed"),
        (Plane("Curve", grid(), points(third="bent"), "Bezier"), "'bent'.*did you mean 'bend'"),
        (Plane("Curve", grid(), points().assign(x=np.nan), "Bezier"), "not a finite number"),
        (Plane("Curve", grid(), points(), "Bezir"), "did you mean 'Bezier'"),
    ],
)
def test_unusable_planes_are_refused_with_their_panel(plane, text):
    with pytest.raises(UserError, match=text) as caught:
        draw([plane])
    if "Bezir" not in str(caught.value):
        assert "a figure, panel 'Curve'" in str(caught.value)


def test_planes_of_different_pairs_are_refused():
    other = Plane("Other", grid(width=3.5), points(width=3.5), "Polychain")
    with pytest.raises(UserError, match=r"panel 'Other'.* x = 3\.5, in panel 'Optima' at 3"):
        draw([*planes(), other])


def test_an_unknown_colour_map_is_refused():
    with pytest.raises(UserError, match="'viridiss'; did you mean 'viridis'"):
        draw(planes(), colour_map="viridiss")


LOG = Surface("train_loss", "Train loss")


def trajectory(x, y, epochs=None):
    epochs = np.arange(len(x)) + 1.0 if epochs is None else epochs
    iterates = pd.DataFrame(
        {"kind": "iterate", "x": x, "y": y, "epoch": epochs, "distance": 10.0 / epochs}
    )
    return Plane("Curve", grid(), pd.concat([points(), iterates]), "Bezier", ("w70", "w150"))


def epoch_labels(axis):
    # Labels of contours are no annotations.
    texts = [text for text in axis.texts if isinstance(text, Annotation)]
    return [text for text in texts if text.get_text().isdigit()]


def test_levels_of_a_logarithmic_scale_grow_by_one_factor():
    assert contour_levels(0.001, 10.0, None, 4) == [0.001, 0.01, 0.1, 1.0, 10.0]
    assert contour_levels(3.0, 3.0, None, 2)[0] == 3.0


def test_a_logarithmic_scale_gives_values_without_a_logarithm_the_lowest_colour():
    surface = grid()
    surface.loc[112, "train_loss"] = 0.0
    figure, numbers = draw([Plane("Curve", surface, points(), "Bezier")], [LOG])
    assert numbers["train_loss"].min() == 0
    bar = next(axis for axis in figure.axes if axis.get_label() == "<colorbar>")
    written = [float(text.get_text()) for text in bar.get_yticklabels()]
    assert 0 < written[0] <= surface["train_loss"][surface["train_loss"] > 0].min()
    filled, lines = contours_of(panels_of(figure)[0])
    np.testing.assert_allclose(lines.levels, np.log(written[1:-1]))
    # Nothing is below the lowest level, so the zero has its colour and not that of the grey.
    assert filled.zmin >= filled.levels[0]
    with pytest.raises(UserError, match="'train_loss': no value is positive"):
        draw([broken_grid(train_loss=0.0)], [LOG])


def test_quantities_of_one_plane_stand_side_by_side():
    plane = Plane("Curve", grid(), points(), "Bezier")
    figure, _ = draw([plane], [LOSS, ERROR])
    first, second = panels_of(figure)
    assert first.get_subplotspec().rowspan == second.get_subplotspec().rowspan
    assert first.get_subplotspec().colspan.start == 0
    assert second.get_subplotspec().colspan.start == 1
    assert figure.get_figwidth() == TEXT_WIDTH
    assert draw([plane])[0].get_figwidth() == COLUMN_WIDTH


def test_iterates_are_joined_in_the_order_of_epochs_and_listed():
    plane = trajectory([0.2, 1.0, 0.6], [0.5, 0.5, 1.0], np.array([10.0, 30.0, 20.0]))
    figure, numbers = draw([plane])
    axis = panels_of(figure)[0]
    path = [[0.2, 0.5], [0.6, 1.0], [1.0, 0.5]]
    assert sum(np.array_equal(line.get_xydata(), path) for line in axis.lines) == 2
    iterates = numbers[numbers["kind"] == "iterate"]
    assert iterates["label"].tolist() == ["10", "20", "30"]
    assert iterates["epoch"].tolist() == [10, 20, 30]
    assert iterates["distance"].tolist() == [1, 0.5, 10 / 30]
    assert "up to 1 off the plane" in figure.get_supxlabel()
    assert numbers.loc[numbers["kind"] == "endpoint", "label"].tolist() == ["w70", "w150"]
    assert "$w_{70}$ towards $w_{150}$" in figure.get_supxlabel()
    assert "$w_{150}$" in [text.get_text() for text in axis.texts]


def test_a_few_iterates_are_labelled_apart_from_each_other_and_from_the_marks():
    x = np.linspace(0.1, 2.9, 100)
    figure, _ = draw([trajectory(x, np.full(100, 1.0))])
    axis = panels_of(figure)[0]
    labels = epoch_labels(axis)
    epochs = [int(text.get_text()) for text in labels]
    assert {1, 100} <= set(epochs) and 4 <= len(epochs) <= 8
    assert all(epoch % 10 == 0 for epoch in set(epochs) - {1})
    for text, epoch in zip(labels, epochs, strict=True):
        assert text.xy == pytest.approx((x[epoch - 1], 1.0))
    gaps = np.diff(sorted(text.xy[0] for text in labels))
    assert gaps.min() > 0.13 * np.ptp(axis.get_xlim())
    crowded, _ = draw([trajectory([0.01, 2.99], [0.0, 0.01])])
    assert not epoch_labels(panels_of(crowded)[0])


def test_panels_grow_to_iterates_near_the_lattice_and_count_those_beyond():
    figure, _ = draw([trajectory([-40.0, -30.0, -2.0, 0.5], [0.0, 0.5, 0.5, 0.5])])
    axis = panels_of(figure)[0]
    left, right = axis.get_xlim()
    assert -2.5 < left < -2.0 and right == pytest.approx(3.6)
    assert axis.get_ylim() == pytest.approx((-0.4, 2.4))
    assert axis.get_title() == "Curve\n2 iterates (epochs 1 to 2) out of sight"


def test_iterates_without_their_epoch_are_refused():
    plane = trajectory([0.5], [0.5])
    with pytest.raises(UserError, match="points: no column 'epoch'"):
        draw([Plane("Curve", grid(), plane.points.drop(columns="epoch"), "Bezier")])


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("w70", "$w_{70}$"), ("theta", r"$\theta$"), ("theta2", r"$\theta_{2}$"), ("G", "$G$"),
        ("SGD 5$", r"SGD 5\$"),
    ],
)  # fmt: skip
def test_labels_are_set_as_symbols(label, text):
    assert symbol(label) == text
