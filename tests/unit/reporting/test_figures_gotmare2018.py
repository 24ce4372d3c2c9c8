"""The figures of Gotmare et al. 2018: their numbers, and that they can be read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from mode_connectivity.reporting.embedding import principal_coordinates, tsne
from mode_connectivity.reporting.figures import gotmare2018
from mode_connectivity.reporting.figures.gotmare2018 import Connection
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.reporting.style import COLUMN_WIDTH, SMALL, TEXT_WIDTH
from mode_connectivity.settings import UserError

T = np.linspace(0, 1, 61)
MODES = "ABCDEF"
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def grid(start, end, barrier=0.0, t=T):
    """Return a grid whose train loss falls from one end to the other, over a barrier."""
    nll = start + (end - start) * t + barrier * np.sin(np.pi * t) ** 4
    return pd.DataFrame(
        {
            "t": t,
            "train_nll": nll,
            "train_error": 25 * nll,
            "test_nll": 0.3 + nll,
            "test_error": 6 + 20 * nll,
        },
        index=range(100, 100 + len(t)),
    )


def snapshots(epochs=(20, 40, 60, 80)):
    return {
        f"G{mode}": pd.concat(
            [grid(0.01, 0.01 + 0.002 * index, 0.8 / epoch).assign(epoch=epoch) for epoch in epochs]
        )
        for index, mode in enumerate(MODES)
    }


def connection(start, end, losses, barrier):
    return Connection(start, end, grid(*losses), grid(*losses, barrier, t=np.linspace(0, 1, 31)))


def connections():
    return {
        "SGDR": [
            connection("w30", "w70", (0.12, 0.03), 0.2),
            connection("w70", "w150", (0.03, 0.003), 1.0),
            connection("w30", "w150", (0.12, 0.003), 1.7),
        ],
        "SGD": [
            connection("w55", "w65", (0.36, 0.14), 0.0),
            connection("w145", "w155", (0.13, 0.03), 0.01),
            connection("w55", "w155", (0.36, 0.03), 0.02),
            connection("w145", "w165", (0.13, 0.03), 0.01),
            connection("w55", "w165", (0.36, 0.03), 0.0),
        ],
    }


def histories():
    epoch = np.arange(1, 151)
    sgdr = pd.DataFrame({"epoch": epoch, "test_error": 7 + 40 / epoch})
    return {"SGDR": sgdr, "SGD": sgdr.assign(test_error=sgdr["test_error"].where(epoch % 2 == 0))}


def schedules():
    sgdr = pd.DataFrame({"epoch": np.arange(150.0), "learning_rate": np.geomspace(0.05, 1e-6, 150)})
    return {"SGDR": sgdr, "SGD": sgdr.assign(learning_rate=0.05)}


def plane(iterates=150):
    """Return a plane with a valley along the chain and iterates that enter it from the left."""
    corners = np.array([[0.0, 0.0], [22.0, 0.0], [10.0, 13.0]])
    x, y = np.meshgrid(np.linspace(-0.2, 1.2, 21) * 22, np.linspace(-0.2, 1.2, 21) * 13)
    x, y = x.ravel(), y.ravel()
    t = T[:, None]
    chain = np.where(
        t < 0.5, 2 * t * corners[2], (2 - 2 * t) * corners[2] + (2 * t - 1) * corners[1]
    )
    distance = np.hypot(x[:, None] - chain[:, 0], y[:, None] - chain[:, 1]).min(axis=1)
    loss = 1e-3 * np.exp(distance / 1.2)
    rows = [("endpoint", np.nan, *corners[0]), ("endpoint", np.nan, *corners[1])]
    rows += [("bend", np.nan, *corners[2])]
    rows += [("curve", t, *point) for t, point in zip(T, chain, strict=True)]
    points = pd.DataFrame(rows, columns=["kind", "t", "x", "y"])
    epochs = np.arange(1, iterates + 1)
    trajectory = pd.DataFrame(
        {
            "kind": "iterate",
            "t": np.nan,
            "x": np.where(epochs < 70, -10 + epochs / 7, np.minimum((epochs - 70) / 3, 22)),
            "y": np.where(np.isin(epochs, [70]) | (epochs > 136), 0, 2 + np.sin(epochs)),
            "epoch": epochs.astype(float),
            "distance": np.where(np.isin(epochs, [70, 150]), 0, 25 / epochs**0.5),
        }
    )
    # Read from a CSV, rows come in any order and numbers beside gaps.
    points = pd.concat([points, trajectory.iloc[::-1]], ignore_index=True)
    surface = pd.DataFrame({"x": x, "y": y, "train_nll": loss, "test_nll": 0.25 + loss})
    return Plane("", surface, points)


def geometry():
    """Return the modes at the corners of a simplex, and bends between G and the others."""
    generator = np.random.default_rng(0)
    scale = {"G": 1.0, "A": 1.0, "B": 3.0, "C": 1.0, "D": 4.0, "E": 1.3, "F": 1.1}
    weights = {
        name: 30 * size * generator.standard_normal(500) / 500**0.5 for name, size in scale.items()
    }
    weights |= {
        f"G{mode}": (weights["G"] + weights[mode]) / 2 + 0.3 * generator.standard_normal(500)
        for mode in MODES
    }
    stack = np.array(list(weights.values()))
    labels = list(weights)
    points = pd.DataFrame(
        {
            "label": labels,
            "kind": ["mode"] * 7 + ["bend"] * 6,
            "norm": np.linalg.norm(stack, axis=1),
        }
    )
    between = np.linalg.norm(stack[:, None] - stack[None], axis=2)
    distances = pd.DataFrame(between, columns=labels)
    distances.insert(0, "label", labels)
    return points, distances


FIGURES = {
    "figure1": lambda: gotmare2018.gotmare2018_figure1(snapshots(), title="VGG-16, CIFAR-10"),
    "figure2": lambda: gotmare2018.gotmare2018_figure2(histories(), schedules(), connections()),
    "figure3": lambda: gotmare2018.gotmare2018_figure3(plane(), title="VGG-16, CIFAR-10"),
    "figure4": lambda: gotmare2018.gotmare2018_figure4(*geometry(), perplexity=5, seed=0),
    "figure5": lambda: gotmare2018.gotmare2018_figure5(plane(), title="VGG-16, CIFAR-10"),
    "figure6": lambda: gotmare2018.gotmare2018_figure6(plane()),
    "figure7": lambda: gotmare2018.gotmare2018_figure7(connections()),
    "figure8": lambda: gotmare2018.gotmare2018_figure8(snapshots()),
    "figure10": lambda: gotmare2018.gotmare2018_figure10(snapshots((2, 4))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_written_is_legible_inside_the_page_and_clear_of_the_data(name):
    figure, _ = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    page = figure.bbox
    assert figure.get_figwidth() == (COLUMN_WIDTH if name in ("figure5", "figure6") else TEXT_WIDTH)
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= SMALL, text.get_text()
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes)]
    written = [*figure.texts, *(legend for legend in legends if legend)]
    written += [axis.yaxis.label for axis in figure.axes if axis.get_ylabel()]
    boxes = [item.get_window_extent(renderer) for item in written]
    for box, item in zip(boxes, written, strict=True):
        assert box.x0 > page.x0 - 1 and box.x1 < page.x1 + 1, item
        assert box.y0 > page.y0 - 1 and box.y1 < page.y1 + 1, item
        assert not any(box.overlaps(axis.get_window_extent()) for axis in figure.axes), item
        assert sum(box.overlaps(other) for other in boxes) == 1, item
    for axis in figure.axes:
        if axis.get_label() != "<colorbar>":
            assert axis.get_window_extent().width > 72 * figure.get_figwidth() / 4


@pytest.mark.parametrize(
    ("draw", "column", "quantity", "label"),
    [
        ("figure1", "test_error", "test_accuracy", "Validation accuracy (%), test set"),
        ("figure8", "test_nll", "test_nll", "Validation cross-entropy, test set"),
        ("figure9", "train_error", "train_accuracy", "Train accuracy (%)"),
        ("figure10", "train_nll", "train_nll", "Train cross-entropy"),
    ],
)
def test_each_connection_has_a_panel_and_each_epoch_a_line(draw, column, quantity, label):
    figure, numbers = getattr(gotmare2018, f"gotmare2018_{draw}")(snapshots())
    assert list(numbers) == ["connection", "epoch", "t", quantity]
    assert figure.get_supylabel() == label
    assert len(figure.axes) == 6
    for axis, (name, table) in zip(figure.axes, snapshots().items(), strict=True):
        expected = 100 - table[column] if column.endswith("error") else table[column]
        drawn = numbers[numbers["connection"] == name]
        np.testing.assert_array_equal(drawn[quantity], expected)
        np.testing.assert_array_equal(drawn["epoch"], table["epoch"])
        lines = np.concatenate([line.get_ydata() for line in axis.lines])
        np.testing.assert_array_equal(lines, expected)
        assert axis.get_title().startswith(f"$G$${name[1]}$: ")
        ticks = [text.get_text() for text in axis.get_xticklabels()]
        assert ticks == ["0\n$G$", "0.5", f"1\n${name[1]}$"]
        low, high = axis.get_ylim()
        assert low < lines.min() and high > lines.max() and (low, high) == figure.axes[0].get_ylim()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[1:] == ["20", "40", "60", "80"]
    lightness = [LUMINANCE @ to_rgb(line.get_color()) for line in figure.axes[0].lines]
    assert all(np.diff(lightness) < -0.05) and lightness[0] < 0.7
    assert len({line.get_marker() for line in figure.axes[0].lines}) == 4


def test_a_line_at_full_accuracy_is_in_sight():
    perfect = {name: table.assign(train_error=0.0) for name, table in snapshots().items()}
    perfect["GF"] = snapshots()["GF"]
    figure, _ = gotmare2018.gotmare2018_figure9(perfect)
    assert 100 < figure.axes[0].get_ylim()[1] < 100.2


def test_connections_may_be_few_and_their_modes_new():
    tables = {"GA": snapshots()["GA"], "Gmy_net": snapshots()["GB"].query("epoch == 80")}
    figure, numbers = gotmare2018.gotmare2018_figure1(tables)
    assert [axis.get_title() for axis in figure.axes] == ["$G$$A$: large batch", "$G$my_net"]
    # The last epoch keeps its style where others are missing.
    assert figure.axes[1].lines[0].get_color() == figure.axes[0].lines[-1].get_color()
    assert len(numbers) == 5 * len(T)


def test_points_of_a_connection_that_are_not_finite_are_left_out_and_counted():
    tables = snapshots()
    row = (tables["GB"]["epoch"] == 40) & (tables["GB"]["t"] == 0.5)
    tables["GB"].loc[row, "test_nll"] = np.inf
    figure, numbers = gotmare2018.gotmare2018_figure8(tables)
    assert figure.axes[1].get_title() == "$G$$B$: Adam\nepoch 40: 1.6 % not finite"
    assert numbers["test_nll"].isna().sum() == 1


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({}, "no connections"),
        ({"AB": snapshots()["GA"]}, "connection 'AB'; a name is G, where t = 0"),
        ({"GA": snapshots()["GA"].drop(columns="epoch")}, "GA: no column 'epoch'"),
        ({"GA": snapshots()["GA"].drop(columns="test_error")}, "GA: no column 'test_error'"),
        ({"GA": snapshots()["GA"].assign(epoch=20)}, "GA, epoch 20: .*not ascending"),
    ],
)
def test_unusable_connections_are_refused(tables, text):
    with pytest.raises(UserError, match=text):
        gotmare2018.gotmare2018_figure1(tables)


def test_figure2_draws_the_training_the_schedules_and_the_connections():
    figure, numbers = FIGURES["figure2"]()
    accuracy, rates, sgdr, sgd = figure.axes
    assert rates.get_yscale() == "log"
    recorded = numbers[(numbers["panel"] == "a") & (numbers["scheme"] == "SGD")]
    # Epochs without a test are left out, not drawn as gaps.
    np.testing.assert_array_equal(recorded["epoch"], np.arange(2, 151, 2))
    np.testing.assert_allclose(recorded["test_accuracy"], 93 - 40 / recorded["epoch"])
    np.testing.assert_array_equal(accuracy.lines[1].get_ydata(), recorded["test_accuracy"])
    np.testing.assert_array_equal(rates.lines[0].get_ydata(), schedules()["SGDR"]["learning_rate"])
    assert rates.lines[0].get_drawstyle() == "steps-post"
    for axis, panel, scheme in ((sgdr, "c", "SGDR"), (sgd, "d", "SGD")):
        drawn = numbers[numbers["panel"] == panel]
        assert set(drawn["scheme"]) == {scheme}
        expected = connections()[scheme]
        lines = iter(axis.lines)
        for pair in expected:
            for path, table in (("segment", pair.segment), ("curve", pair.curve)):
                line = next(lines)
                np.testing.assert_array_equal(line.get_xydata(), table[["t", "train_nll"]])
                assert line.is_dashed() == (path == "segment")
                rows = drawn[
                    (drawn["start"] == pair.start_label)
                    & (drawn["end"] == pair.end_label)
                    & (drawn["path"] == path)
                ]
                np.testing.assert_array_equal(rows["train_nll"], table["train_nll"])
        names = [text.get_text() for text in axis.get_legend().get_texts()]
        first = expected[0]
        assert names[0] == f"$w_{{{first.start_label[1:]}}}$, $w_{{{first.end_label[1:]}}}$"
        assert len(names) == len(expected)
        low, high = axis.get_ylim()
        assert low <= drawn["train_nll"].min() and high > drawn["train_nll"].max()
    assert sgdr.get_yscale() == "function" and sgd.get_yscale() == "linear"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["SGDR", "SGD", "Curve", "Segment"]


def test_figure7_has_a_row_a_quantity_and_a_column_a_scheme():
    figure, numbers = FIGURES["figure7"]()
    assert list(numbers) == [
        "scheme", "start", "end", "path", "t", "train_accuracy", "test_accuracy", "test_nll",
    ]  # fmt: skip
    assert numbers["scheme"].unique().tolist() == ["SGD", "SGDR"]
    pair = connections()["SGDR"][1]
    rows = numbers.query("scheme == 'SGDR' and start == 'w70' and path == 'segment'")
    np.testing.assert_array_equal(rows["t"], pair.segment["t"])
    np.testing.assert_array_equal(rows["train_accuracy"], 100 - pair.segment["train_error"])
    np.testing.assert_array_equal(rows["test_accuracy"], 100 - pair.segment["test_error"])
    np.testing.assert_array_equal(rows["test_nll"], pair.segment["test_nll"])
    axes = np.array(figure.axes).reshape(3, 2)
    assert [axis.get_title() for axis in axes[0]] == ["SGD iterates", "SGDR iterates"]
    for row, quantity in zip(axes, ("train_accuracy", "test_accuracy", "test_nll"), strict=True):
        for axis, scheme in zip(row, ("SGD", "SGDR"), strict=True):
            values = numbers.loc[numbers["scheme"] == scheme, quantity]
            drawn = np.concatenate(
                [line.get_ydata() for line in axis.lines if line.get_transform() == axis.transData]
            )
            np.testing.assert_array_equal(drawn, values)
            low, high = axis.get_ylim()
            assert low <= values.min() and high >= values.max()
    # Accuracies of the curves get most of the height; the barrier falls into the part below.
    place = axes[0, 1].transAxes.inverted()
    heights = [place.transform(axes[0, 1].transData.transform((0, y)))[1] for y in (60, 97, 99.9)]
    assert heights[0] < 0.28 < heights[1] and heights[2] - heights[1] > 0.5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"SGD": []}, "nothing of SGD"),
        ({"SGDRR": []}, "learning rate scheme 'SGDRR'.*did you mean 'SGDR'"),
        (
            {"SGD": [replace(connections()["SGD"][0], curve=grid(1, 1).drop(columns="test_nll"))]},
            "SGD, w55-w65, curve: no column 'test_nll'",
        ),
        (
            {"SGDR": [replace(connections()["SGDR"][0], segment=grid(1, 1)[::-1])]},
            "SGDR, w30-w70, segment: .*not ascending",
        ),
    ],
)
def test_figure7_names_what_it_cannot_draw(change, text):
    with pytest.raises(UserError, match=text):
        gotmare2018.gotmare2018_figure7(connections() | change)


def test_figure2_refuses_a_learning_rate_of_zero_on_its_logarithmic_axis():
    rates = schedules()
    rates["SGDR"].loc[149, "learning_rate"] = 0
    with pytest.raises(UserError, match="SGDR, learning_rate: 0; the axis is logarithmic"):
        gotmare2018.gotmare2018_figure2(histories(), rates, connections())
    with pytest.raises(UserError, match="nothing of SGD; found SGDR"):
        gotmare2018.gotmare2018_figure2(histories(), {"SGDR": schedules()["SGDR"]}, connections())


def test_planes_name_their_ends_by_the_iterates_there_and_draw_both_losses():
    figure, numbers = FIGURES["figure3"]()
    labels = numbers.loc[numbers["kind"].isin(["endpoint", "bend"]), "label"]
    assert labels.tolist() == ["w70", "w150", "theta"]
    assert "$w_{70}$ towards $w_{150}$" in figure.get_supxlabel()
    bars = [axis.get_ylabel() for axis in figure.axes if axis.get_label() == "<colorbar>"]
    assert bars == [
        "Train cross-entropy, log scale",
        "Validation cross-entropy\ntest set, log scale",
    ]
    drawn = numbers[numbers["kind"] == "grid"]
    for column in ("train_nll", "test_nll"):
        np.testing.assert_array_equal(drawn[column], plane().grid[column])
    for draw, column in (("figure5", "train_nll"), ("figure6", "test_nll")):
        figure, numbers = FIGURES[draw]()
        assert len(figure.axes) == 2
        assert list(numbers)[-1] == column and "train_loss" not in numbers
    named = replace(plane(), names=("w30", "w70"))
    _, numbers = gotmare2018.gotmare2018_figure5(named)
    assert numbers["label"].iloc[441] == "w30"
    _, numbers = gotmare2018.gotmare2018_figure5(plane(iterates=100))
    assert numbers["label"].iloc[441:443].tolist() == ["w1", "w2"]


def test_figure4_shows_tsne_the_principal_coordinates_and_the_distances():
    points, distances = geometry()
    figure, numbers = FIGURES["figure4"]()
    between = distances.drop(columns="label").to_numpy()
    np.testing.assert_array_equal(numbers[["tsne_1", "tsne_2"]], tsne(between, 5, 0))
    coordinates, shares = principal_coordinates(between)
    np.testing.assert_array_equal(numbers[["principal_1", "principal_2"]], coordinates[:, :2])
    np.testing.assert_array_equal(numbers[["share_1", "share_2"]], [shares[:2]] * 13)
    np.testing.assert_array_equal(numbers.filter(like="distance_"), between)
    pd.testing.assert_frame_equal(numbers[["label", "kind"]], points[["label", "kind"]])
    panels = {axis.get_title(): axis for axis in figure.axes}
    matrix = panels["Distance in weight space ($L_2$)"]
    np.testing.assert_array_equal(matrix.images[0].get_array(), between)
    assert [text.get_text() for text in matrix.texts[:2]] == ["0", f"{between[0, 1]:.0f}"]
    assert len(matrix.texts) == 13**2
    embedded = panels["t-SNE (perplexity 5, seed 0)"]
    assert not len(embedded.get_xticks())
    modes, bends, *paths = embedded.lines
    np.testing.assert_array_equal(modes.get_xydata(), numbers[["tsne_1", "tsne_2"]][:7])
    np.testing.assert_array_equal(bends.get_xydata(), numbers[["tsne_1", "tsne_2"]][7:])
    assert len(paths) == 6
    FigureCanvasAgg(figure).draw()
    (left, right), (bottom, top) = embedded.get_xlim(), embedded.get_ylim()
    inside = (numbers[["tsne_1", "tsne_2"]] - [left, bottom]) / [right - left, top - bottom]
    assert inside.min().min() > 0.05 and inside.max().max() < 0.95
    np.testing.assert_array_equal(
        paths[0].get_xydata(), numbers[["tsne_1", "tsne_2"]].iloc[[0, 7, 1]]
    )
    assert f"{100 * shares[0]:.0f} %" in panels["Principal coordinates"].get_xlabel()
    # Every point is named once, those that lie on each other together.
    for name in ("t-SNE (perplexity 5, seed 0)", "Principal coordinates"):
        names = " ".join(text.get_text() for text in panels[name].texts).replace(",", " ").split()
        assert sorted(names) == sorted(points["label"])


def test_figure4_refuses_tables_that_do_not_belong_together():
    points, distances = geometry()
    draw = gotmare2018.gotmare2018_figure4
    with pytest.raises(UserError, match="perplexity 13 for 13 points"):
        draw(points, distances, perplexity=13, seed=0)
    with pytest.raises(UserError, match="the same labels in the same order"):
        draw(points[::-1], distances, perplexity=5, seed=0)
    with pytest.raises(UserError, match="distances: no column 'GF'"):
        draw(points, distances.drop(columns="GF"), perplexity=5, seed=0)
    with pytest.raises(UserError, match="at least three"):
        draw(points[:2], distances[:2], perplexity=1, seed=0)
