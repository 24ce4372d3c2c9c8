"""Figures of the user's own, drawn from results that are there."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mode_connectivity.reporting.artefacts import Results, make_figure
from mode_connectivity.reporting.style import SMALL
from mode_connectivity.settings import UserError

DRAWINGS = """
import matplotlib.pyplot as plt
import pandas as pd


def rises(results):
    figure, axis = plt.subplots()
    (name,) = results.settings["curves"]
    grid = results.curve_grid(name)
    axis.plot(grid["t"], grid["test_error"], label=results.title(name))
    axis.legend()
    return figure, grid[["t", "test_error"]]


def style(results):
    return plt.figure(), pd.DataFrame({"size": [plt.rcParams["legend.fontsize"]]})


def figure_alone(results):
    return rises(results)[0]


def other_way_round(results):
    figure, numbers = rises(results)
    return numbers, figure


def of_another_curve(results):
    return results.curve_grid("chian")
"""
GRID = pd.DataFrame({"t": np.linspace(0, 1, 5), "test_error": [2.0, 3.0, 9.0, 3.0, 2.5]})
TITLES = {"dataset": "Digits", "network": "Two layers"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawings.py").write_text(DRAWINGS)
    for curve in ("chain", "chian"):
        folder = tmp_path / "results" / "curves" / curve
        folder.mkdir(parents=True)
        GRID.to_csv(folder / "grid.csv", index=False)
    return tmp_path / "results"


def content(function: str) -> dict[str, Any]:
    settings = {"draw": f"drawings.py:{function}", "curves": ["chain"]}
    return {"settings": settings, "scale": "demo", "curves": {"chain": TITLES}}


def test_it_is_written_as_every_other_figure(root: Path) -> None:
    stem = root / "figures" / "mine"
    make_figure("mine", content("rises"), root, stem)
    pd.testing.assert_frame_equal(pd.read_csv(f"{stem}.csv"), GRID)
    assert Image.open(f"{stem}.png").info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert Path(f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    (panel,) = json.loads(Path(f"{stem}.json").read_text())["panels"]
    (series,) = panel["series"]
    assert series["label"] == "Two layers, Digits"
    assert [point[2:] for point in series["points"]] == GRID.to_numpy().tolist()


def test_it_is_drawn_in_the_style_of_the_others_and_in_no_window(root: Path) -> None:
    stem = root / "figures" / "mine"
    before = matplotlib.get_backend()
    matplotlib.use("svg")
    try:
        with matplotlib.rc_context({"legend.fontsize": 30}):
            make_figure("mine", content("style"), root, stem)
        assert matplotlib.get_backend().lower() == "agg"
    finally:
        matplotlib.use(before)
    assert pd.read_csv(f"{stem}.csv")["size"].tolist() == [SMALL]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("figure_alone", "the function returned Figure; it must return a matplotlib Figure and"),
        ("other_way_round", "the function returned (DataFrame, Figure); it must return"),
        (
            "of_another_curve",
            "'chian' is not among the curves that are shown: chain; did you mean 'chain'?; name it "
            "in the config",
        ),
    ],
)
def test_what_is_wrong_with_it_is_told_in_a_line(root: Path, function: str, expected: str) -> None:
    with pytest.raises(UserError) as raised:
        make_figure("mine", content(function), root, root / "figures" / "mine")
    assert expected in str(raised.value)
    assert not (root / "figures" / "mine.png").exists()


def test_titles_of_parts_that_have_one_name(root: Path) -> None:
    results = Results(
        root,
        {
            "settings": {"title": "Mine", "curves": []},
            "scale": "demo",
            "curves": {"one": TITLES},
            "ensembles": {"one": {**TITLES, "network": "Others"}},
            "complexes": {"espro/1": TITLES},
        },
    )
    assert results.title("one") == "Two layers, Digits"
    assert results.title("one", "ensembles") == "Others, Digits"
    assert results.title("espro/1", "simplexes") == "Two layers, Digits"
    for name, section in (("title", None), ("demo", None), ("one", "planes")):
        with pytest.raises(UserError, match=f"'{name}' is not among the"):
            results.title(name, section)
