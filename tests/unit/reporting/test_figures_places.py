"""Where points lie in a picture, against the pixels of the picture."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from mode_connectivity.reporting.figures.axes import split_scale
from mode_connectivity.reporting.figures.files import save
from mode_connectivity.reporting.figures.places import mark_surface, plain
from mode_connectivity.reporting.style import COLUMN_WIDTH, TEXT_WIDTH, new_figure, styled

NOTHING = pd.DataFrame({"t": [0.0]})
X = np.linspace(0.0, 1.0, 7)


def saved(figure, folder):
    save(figure, NOTHING, folder / "figure")
    with Image.open(folder / "figure.png") as picture:
        pixels = np.asarray(picture.convert("RGB")) / 255
    return json.loads((folder / "figure.json").read_text())["panels"], pixels


def colour_at(pixels, across, down):
    height, width, _ = pixels.shape
    return pixels[round(down * height), round(across * width)]


@styled
def two_panels():
    figure = new_figure(TEXT_WIDTH, 2.5, "Title")
    left, right = figure.subplots(1, 2, sharex=True)
    left.plot(X, 1 + X**2, color="red", linewidth=4, label=r"$\hat w_1$")
    left.plot(X, 3 - X, color="blue", linewidth=4)
    left.axhline(2.0)
    left.plot([0.1, 0.9], [1.1, 1.1], color="green")
    left.set_ylabel("Test error (%)")
    left.set_title("Panel")
    left.set_xlim(0, 1)
    split_scale(left, 0.9, 2.2, 3.0)
    right.plot(X, 10.0**X, color="red", linewidth=4, label="rising")
    right.set_yscale("log")
    right.set_xlabel("$t$")
    return figure


def test_points_lie_where_the_picture_has_them(tmp_path):
    panels, pixels = saved(two_panels(), tmp_path)
    left, right = panels
    assert [series["label"] for series in left["series"]] == ["w_1", ""]
    first, second = (series["points"] for series in left["series"])
    # On a scale that changes in the middle, and on a logarithmic one.
    for points, colour in ((first, "red"), (second, "blue")):
        for across, down, *_ in points[1:-1]:
            assert colour_at(pixels, across, down) == pytest.approx(to_rgb(colour), abs=0.02)
    for across, down, *_ in right["series"][0]["points"][1:-1]:
        assert colour_at(pixels, across, down) == pytest.approx(to_rgb("red"), abs=0.02)
    # A place nearby is not on a line: the check above can fail.
    across, down, *_ = first[3]
    assert colour_at(pixels, across, down - 0.1) != pytest.approx(to_rgb("red"), abs=0.02)


def test_points_have_their_numbers_and_names(tmp_path):
    left, right = saved(two_panels(), tmp_path)[0]
    assert (left["title"], left["x"], left["y"]) == ("Panel", "t", "Test error (%)")
    assert right["x"] == "t"
    values = [point[2:] for point in left["series"][0]["points"]]
    assert values == [[float(f"{x:.6g}"), float(f"{1 + x**2:.6g}")] for x in X]
    # Rules across a panel and frames of two points are no data.
    assert len(left["series"]) == 2


@styled
def surface():
    figure = new_figure(COLUMN_WIDTH, 2.5)
    axis = figure.subplots()
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0])
    values = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 1e-9]])
    mesh = axis.pcolormesh(x, y, values, shading="nearest")
    figure.colorbar(mesh)
    axis.plot([0.5, 1.0, 1.5], [1.0, 2.0, 1.0])
    mark_surface(axis, "Train loss", x, y, values)
    figure.supxlabel("Distance")
    return figure


def test_of_a_surface_the_lattice_is_told(tmp_path):
    (panel,) = saved(surface(), tmp_path)[0]
    (series,) = panel["series"]
    assert series["label"] == "Train loss"
    assert panel["x"] == "Distance"
    # Row by row; the value that is none is left out.
    assert [point[2:] for point in series["points"]] == [
        [0, 0, 1], [2, 0, 3], [0, 3, 4], [1, 3, 5], [2, 3, 1e-9],
    ]  # fmt: skip
    across = [point[0] for point in series["points"]]
    assert across[0] < across[3] < across[1]
    assert series["points"][0][1] > series["points"][2][1]


@styled
def out_of_sight():
    figure = new_figure(TEXT_WIDTH, 2.5)
    axis = figure.subplots()
    axis.plot(X, [0, np.nan, 1, np.inf, 2, 3, 9], label="line")
    axis.set_ylim(0, 3)
    figure.add_subplot(1, 3, 3, projection="3d").plot(X, X, X, label="three")
    return figure


def test_what_is_not_in_the_picture_is_left_out(tmp_path):
    (panel,) = saved(out_of_sight(), tmp_path)[0]
    assert [point[3] for point in panel["series"][0]["points"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"$t$ along $\hat w_1 \to 0 \to \hat w_2$", "t along w_1 → 0 → w_2"),
        (r"$\theta_{2}$", "theta_2"),
        ("Train loss\nclipped at 5", "Train loss clipped at 5"),
        ("Error (%)", "Error (%)"),
    ],
)
def test_labels_without_tex(text, expected):
    assert plain(text) == expected
