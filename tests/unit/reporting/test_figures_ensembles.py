"""The figures of Garipov et al. 2018 on FGE: their numbers, and that they can be read."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.text import Text

from mode_connectivity.reporting.figures.ensembles import (
    garipov2018_figure5,
    garipov2018_figure6,
    running_ensemble_errors,
)
from mode_connectivity.reporting.style import (
    COLUMN_WIDTH,
    METHODS,
    SMALL,
    TEXT_WIDTH,
    method_style,
)
from mode_connectivity.settings import UserError

SNAPSHOTS = [2, 6, 10]


def cyclic(epoch):
    """Return the paper's learning rate with a cycle of four epochs from 0.05 to 0.0005."""
    return 5e-4 + (5e-2 - 5e-4) * np.abs(1 - (epoch % 4) / 2)


def history():
    epoch = np.arange(1, 41) / 4
    rate = cyclic(epoch - 1 / 100)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "learning_rate": rate,
            "train_nll": 0.1,
            "test_error": 22 + 250 * rate,
            "distance": 7 * np.sqrt(epoch),
        },
        index=range(100, 140),
    )


def schedule():
    epoch = np.arange(1000) / 100
    return pd.DataFrame({"epoch": epoch, "learning_rate": cyclic(epoch)})


def members(epochs, runs, errors, ensembles, budget_epochs=150):
    return pd.DataFrame(
        {
            "epoch": epochs,
            "run": runs,
            "test_error": errors,
            "ensemble_test_error": ensembles,
            "budget_epochs": budget_epochs,
        }
    )


def methods():
    fge = [127, 131, 147, 277, 281, 297]
    sse = [37, 74, 111, 150, 187, 224, 261, 300]
    return {
        "FGE": members(
            fge, [1] * 3 + [2] * 3, 22.5 + np.arange(6) % 3, [22.5, 21, 20.16, 19.3, 19, 18.67]
        ),
        "SSE": members(
            sse,
            [1] * 4 + [2] * 4,
            [27.5, 26, 25, 24, 27.6, 26, 25, 24],
            [27.5, 23.5, 21.6, 20.75, 20.3, 19.9, 19.6, 19.28],
        ),
        "Ind": members([150, 300], [1, 2], [21.37, 21.5], [21.37, 19.04]),
    }


def figure5(**options):
    return garipov2018_figure5(history(), SNAPSHOTS, schedule=schedule(), **options)


FIGURES = {
    "figure5": lambda: figure5(iterations_per_epoch=391, title="PreResNet-110, CIFAR-100"),
    "figure6": lambda: garipov2018_figure6(methods(), title="PreResNet-110, CIFAR-100"),
}


@pytest.mark.parametrize(("name", "width"), [("figure5", COLUMN_WIDTH), ("figure6", TEXT_WIDTH)])
def test_everything_written_is_legible_inside_the_page_and_clear_of_the_data(name, width):
    figure, _ = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    assert figure.get_figwidth() == width
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= SMALL, text.get_text()
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        assert box.x0 > 0 and box.x1 < figure.bbox.x1 and box.y0 > -1
        assert not any(box.overlaps(axis.get_tightbbox()) for axis in figure.axes)
    for axis in figure.axes:
        assert axis.get_window_extent().width > 72 * width / 2
        for line in axis.lines:
            if line.get_transform() != axis.transData:
                continue
            x, y = line.get_transform().transform(line.get_xydata()).T
            box = axis.get_window_extent()
            assert (x > box.x0 - 1).all() and (x < box.x1 + 1).all()
            assert (y > box.y0 - 1).all() and (y < box.y1 + 1).all()


def test_methods_of_a_figure_differ_in_colour_dashes_and_marker_so_that_grey_print_is_enough():
    figures = (
        ("Ind", "SSE", "FGE", "SWA"),
        ("ESPRO", "Deep ensemble", "MultiSWA", "MultiSWAG"),
        ("Deep ensemble", "1-simplex", "2-simplex"),
        ("Modes alone", "Complex"),
    )
    assert set(METHODS) == {name for names in figures for name in names}
    for names in figures:
        for property_ in ("colour", "dashes", "marker"):
            assert len({getattr(METHODS[name], property_) for name in names}) == len(names)
    for style in METHODS.values():
        red, green, blue = to_rgb(style.colour)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.65
    with pytest.raises(UserError, match=r"method 'FG'.*Ind, SSE, FGE, SWA.*did you mean 'FGE'"):
        method_style("FG")


def test_figure5_draws_the_schedule_the_history_and_circles_at_the_snapshots():
    figure, numbers = figure5()
    assert list(numbers) == ["epoch", "learning_rate", "test_error", "distance", "snapshot"]
    drawn = ["epoch", "learning_rate", "test_error", "distance"]
    pd.testing.assert_frame_equal(numbers[drawn], history()[drawn].reset_index(drop=True))
    assert numbers.loc[numbers["snapshot"], "epoch"].tolist() == SNAPSHOTS
    rate, error, distance = figure.axes
    np.testing.assert_array_equal(rate.lines[0].get_xydata(), schedule())
    assert rate.lines[0].get_drawstyle() == "steps-post"
    for axis, column in ((error, "test_error"), (distance, "distance")):
        np.testing.assert_array_equal(axis.lines[0].get_xydata(), history()[["epoch", column]])
    for axis, column in zip(figure.axes, drawn[1:], strict=True):
        at_snapshots = history().set_index("epoch").loc[SNAPSHOTS, column]
        circles = axis.lines[1]
        np.testing.assert_array_equal(circles.get_xydata(), [*at_snapshots.items()])
        assert (circles.get_marker(), circles.get_linestyle()) == ("o", "None")
        assert axis.get_shared_x_axes().joined(axis, rate)
    assert distance.get_ylim()[0] == 0


def test_figure5_circles_stand_where_the_schedule_ends_a_step():
    # The last iteration before epoch 2 began at epoch 1.99, with the rate of that time.
    _, numbers = figure5()
    last = schedule().set_index("epoch").loc[1.99, "learning_rate"]
    assert numbers.set_index("epoch").loc[2, "learning_rate"] == pytest.approx(last)


def test_figure5_has_a_scale_in_iterations():
    figure, _ = figure5(iterations_per_epoch=391)
    (iterations,) = figure.axes[0].child_axes
    FigureCanvasAgg(figure).draw()
    np.testing.assert_allclose(iterations.get_xlim(), 391 * np.array(figure.axes[0].get_xlim()))
    assert not figure5()[0].axes[0].child_axes


def test_figure5_leaves_the_initial_weights_out():
    _, numbers = garipov2018_figure5(history(), [0, 2], schedule=schedule())
    assert numbers.loc[numbers["snapshot"], "epoch"].tolist() == [2]
    _, numbers = garipov2018_figure5(history(), [0], schedule=schedule())
    assert not numbers["snapshot"].any()


def test_figure5_masks_values_that_are_not_finite_and_says_so():
    broken = history()
    broken.loc[[103, 104], "test_error"] = [np.nan, np.inf]
    figure, numbers = garipov2018_figure5(broken, SNAPSHOTS, schedule=schedule())
    assert numbers["test_error"].isna().sum() == 2
    assert [axis.get_title() for axis in figure.axes] == ["", "5 % not finite", ""]


@pytest.mark.parametrize(
    ("snapshots", "change", "text"),
    [
        ([2, 12, 127], lambda h: h, r"snapshot of epoch 12, 127; 40 rows from epoch 0\.25 to 10"),
        ([2.1], lambda h: h, r"snapshot of epoch 2\.1;"),
        ([2], lambda h: h.drop(columns="distance"), "history: no column 'distance'"),
        ([2], lambda h: h.iloc[[0, 1, 1, 2]], r"epoch 0\.5 follows epoch 0\.5"),
        ([2], lambda h: h.iloc[::-1], r"epoch 9\.75 follows epoch 10;"),
    ],
)
def test_figure5_refuses_what_is_not_the_history_of_the_run(snapshots, change, text):
    with pytest.raises(UserError, match=text):
        garipov2018_figure5(change(history()), snapshots, schedule=schedule())


def test_figure5_refuses_a_schedule_that_is_none():
    with pytest.raises(UserError, match="schedule: no column 'learning_rate'"):
        garipov2018_figure5(history(), [2], schedule=schedule()[["epoch"]])
    with pytest.raises(UserError, match=r"schedule: epoch 9\.98 follows epoch 9\.99"):
        garipov2018_figure5(history(), [2], schedule=schedule()[::-1])


def test_figure6_draws_crosses_for_members_and_diamonds_for_ensembles():
    figure, numbers = garipov2018_figure6(methods())
    columns = ["run", "epoch", "test_error", "ensemble_test_error", "budget_epochs"]
    assert list(numbers) == ["method", *columns]
    axis = figure.axes[0]
    by_label = {line.get_label(): line for line in axis.lines}
    for name, table in methods().items():
        drawn = numbers[numbers["method"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(drawn[columns], table[columns])
        crosses = by_label[f"{name}, single members"]
        diamonds = by_label[f"{name}, all members so far"]
        np.testing.assert_array_equal(crosses.get_xydata(), table[["epoch", "test_error"]])
        np.testing.assert_array_equal(
            diamonds.get_xydata(), table[["epoch", "ensemble_test_error"]]
        )
        assert (crosses.get_marker(), crosses.get_linestyle()) == ("x", "None")
        assert diamonds.get_marker() == "D" and diamonds.get_linestyle() != "None"
        assert crosses.get_zorder() > diamonds.get_zorder()
        for line in (crosses, diamonds):
            assert to_rgba(line.get_color()) == to_rgba(METHODS[name].colour)
    assert len(figure.legends[0].get_texts()) == 6


def test_figure6_marks_the_ends_of_the_budgets():
    figure, _ = garipov2018_figure6(methods())
    axis = figure.axes[0]
    vertical = [line for line in axis.lines if len({*line.get_xdata()}) == 1]
    assert sorted(line.get_xdata()[0] for line in vertical) == [150, 300]
    assert [(text.get_text(), text.xy[0]) for text in axis.texts] == [("1B", 150), ("2B", 300)]
    without = {name: table.drop(columns="budget_epochs") for name, table in methods().items()}
    figure, numbers = garipov2018_figure6(without)
    assert not figure.axes[0].texts
    assert "budget_epochs" not in numbers


def test_figure6_shows_a_budget_that_no_member_reaches_the_end_of():
    figure, _ = garipov2018_figure6({"SSE": methods()["SSE"][:3]})
    assert figure.axes[0].get_xlim()[1] > 150


def test_figure6_keeps_first_snapshots_that_tower_from_flattening_the_rest():
    assert garipov2018_figure6(methods())[0].axes[0].get_yscale() == "linear"
    towering = methods()
    towering["SSE"].loc[[0, 4], "test_error"] = 80
    towering["SSE"].loc[0, "ensemble_test_error"] = 80
    figure, _ = garipov2018_figure6(towering)
    FigureCanvasAgg(figure).draw()
    axis = figure.axes[0]
    low, high = axis.get_ylim()
    assert 15 < low < 18.67 and high > 80

    def height(value):
        return axis.transAxes.inverted().transform(axis.transData.transform((0, value)))[1]

    assert height(24) - height(18.67) > 0.4


def test_figure6_masks_values_that_are_not_finite_and_says_so():
    broken = methods()
    broken["SSE"].loc[2, "test_error"] = np.nan
    figure, numbers = garipov2018_figure6(broken)
    assert figure.axes[0].get_title(loc="left") == "SSE, single members: 12 % not finite"
    assert numbers["test_error"].isna().sum() == 1
    assert numbers["ensemble_test_error"].notna().all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda given: given.clear(), "no methods"),
        (lambda given: given.update(SGE=given.pop("SSE")), "method 'SGE'"),
        (lambda given: given["SSE"].pop("run"), "figure6, SSE: no column 'run'"),
        (lambda given: given.update(FGE=given["FGE"][::-1]), "FGE: epoch 281 follows epoch 297"),
        (
            lambda given: given["FGE"].update(pd.DataFrame({"budget_epochs": [200] * 6})),
            "budgets of 200, 150 epochs",
        ),
        (lambda given: given["SSE"].pop("budget_epochs"), "budgets of 150, nan epochs"),
    ],
)
def test_figure6_names_what_cannot_be_drawn(change, text):
    given = methods()
    change(given)
    with pytest.raises(UserError, match=text):
        garipov2018_figure6(given)


def test_running_ensembles_by_hand():
    # Two examples of class 0. Logits would follow the first, sure, member throughout.
    members_ = np.log(
        [
            [[0.002, 0.998], [0.6, 0.4]],
            [[0.8, 0.2], [0.3, 0.7]],
            [[0.8, 0.2], [0.3, 0.7]],
        ]
    ).astype(np.float32)
    # Sums of class 0: 0.002, 0.802, 1.602 of 3; and 0.6, 0.9 of 2, 1.2 of 3.
    assert running_ensemble_errors(iter(members_), np.array([0, 0])) == [50.0, 100.0, 50.0]
    assert running_ensemble_errors([], np.array([0, 0])) == []


def test_running_ensembles_equal_the_error_of_each_ensemble_alone():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(5), size=(6, 200))
    labels = random.integers(0, 5, 200)
    expected = [
        100 * np.mean(probabilities[:count].mean(axis=0).argmax(axis=1) != labels)
        for count in range(1, 7)
    ]
    given = np.log(probabilities)
    copy = given.copy()
    assert running_ensemble_errors(given, labels) == pytest.approx(expected)
    np.testing.assert_array_equal(given, copy)


def test_running_ensembles_name_the_member_that_cannot_be_averaged():
    good = np.log(np.full((3, 2), 0.5))
    with pytest.raises(UserError, match=r"network 1 .* are not numbers"):
        running_ensemble_errors([good, good * np.nan], np.zeros(3, int))
    with pytest.raises(UserError, match=r"shape \(3, 2\) with labels of shape \(4,\)"):
        running_ensemble_errors([good], np.zeros(4, int))
