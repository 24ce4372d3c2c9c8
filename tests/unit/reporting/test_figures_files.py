"""Saving a figure: what is written, when, and in which bytes."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mode_connectivity.reporting.figures.files import save
from mode_connectivity.reporting.style import COLUMN_WIDTH, new_figure, styled

NUMBERS = pd.DataFrame({"t": [0.0, 0.5, 1.0], "test_error": [0.1, 1 / 3, np.nan]})


@styled
def draw():
    figure = new_figure(COLUMN_WIDTH, 2.0, "A title")
    figure.subplots().plot(NUMBERS["t"], NUMBERS["test_error"], label=r"$\hat w_1$")
    return figure


def test_picture_document_and_numbers_are_written(tmp_path):
    stem = tmp_path / "new" / "garipov2018.figure1"
    save(draw(), NUMBERS, stem)
    assert sorted(path.name for path in stem.parent.iterdir()) == [
        "garipov2018.figure1.csv",
        "garipov2018.figure1.json",
        "garipov2018.figure1.pdf",
        "garipov2018.figure1.png",
    ]
    with Image.open(stem.parent / "garipov2018.figure1.png") as picture:
        assert picture.size == (round(300 * COLUMN_WIDTH), 600)
    read = pd.read_csv(stem.parent / "garipov2018.figure1.csv")
    pd.testing.assert_frame_equal(read, NUMBERS, check_exact=True)


def test_same_figure_same_bytes_whatever_the_day_and_the_users_settings(tmp_path):
    save(draw(), NUMBERS, tmp_path / "one")
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 50, "pdf.fonttype": 3}):
        save(draw(), NUMBERS, tmp_path / "two")
    for suffix in (".png", ".pdf", ".csv", ".json"):
        first = (tmp_path / "one").with_suffix(suffix).read_bytes()
        assert first == (tmp_path / "two").with_suffix(suffix).read_bytes(), suffix
        assert b"Date" not in first
        assert b"atplotlib" not in first


def test_a_failure_leaves_the_previous_files_and_no_debris(tmp_path, monkeypatch):
    save(draw(), NUMBERS, tmp_path / "figure")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    other = draw()
    other.set_facecolor("red")
    with pytest.raises(OSError, match="disk full"):
        save(other, NUMBERS, tmp_path / "figure")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
