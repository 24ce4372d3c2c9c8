"""Figures of the user's own, as data."""

from pathlib import Path

import pytest
from small_configs import load, write_scale

from mode_connectivity import plan
from mode_connectivity.config import ConfigError, artefact_names, load_config
from mode_connectivity.reporting.captions import captions_of

SCALE = """
datasets:
  digits: {title: Digits, source: digits}
  spirals: {title: Spirals, source: two_spirals}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [4]}
    training: {epochs: 5, batch_size: 32, learning_rate: 0.05, snapshots: [2]}
  spiral: {extends: plain, dataset: spirals}
curves:
  segment: {kind: segment, start: plain/1, end: plain/2}
  chain: {kind: polychain, start: plain/1, end: plain/2, training: {epochs: 2}}
planes:
  bent: {start: plain/1, end: plain/2, third: chain}
simplexes:
  espro: {modes: [plain], connectors: 2, training: {epochs: 1}}
  spiral_espro: {modes: [spiral], connectors: 1, training: {epochs: 1}}
ensembles:
  complex: {method: simplex, simplex: espro, connectors: 2, seeds: [1]}
  spiral_complex: {method: simplex, simplex: spiral_espro, connectors: 1, seeds: [1]}
artefacts:
  garipov2018_trivial_path:
"""
DRAWINGS = """
import seaborn_of_no_environment


def draw(results): ...


def with_default(results, colour="red"): ...


def keywords(*, results): ...


def two(results, colour): ...


def none(): ...
"""
EVERYTHING = """
figures:
  mine: &mine
    draw: drawings.py:draw
    title: Mine
    caption: What it shows.
    curves: [chain]
    planes: [bent]
    networks: [plain/1]
    histories: [plain/3]
    ensembles: [complex]
    simplexes: [espro/1]
    samples: [espro/1/2, espro/1/0]
  other: {extends: mine, draw: "drawings.py:with_default", planes: [], caption: Another.}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawings.py").write_text(DRAWINGS)
    return write_scale(tmp_path, SCALE)


def mistakes(root: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(root, text)
    return caught.value.mistakes


def test_a_figure_is_an_artefact(root: Path) -> None:
    config = load(root, EVERYTHING)
    assert artefact_names(config) == ["mine", "other"]
    assert plan.selected_artefacts(config) == ["mine", "other"]
    assert plan.artefacts_of(config, "make_figure") == ["mine", "other"]
    assert plan.artefacts_of(config, "make_table") == []
    assert plan.artefact_files("mine") == [
        f"figures/mine.{s}" for s in ("png", "pdf", "csv", "json")
    ]
    assert plan.papers(config) == {}
    captions = captions_of(config)
    assert (captions["other"].title, captions["other"].caption) == ("Mine", "Another.")
    assert captions["garipov2018_table1"].title.startswith("Table 1")


def test_it_is_made_of_what_it_names(root: Path) -> None:
    config = load(root, EVERYTHING)
    job = plan.job_that_makes(config, "figures/mine.json")
    assert job is not None
    assert job.rule == "make_figure"
    assert job.inputs == (
        "curves/chain/grid.csv",
        "planes/bent/grid.csv",
        "networks/plain/seed1/evaluation/metrics.csv",
        "networks/plain/seed3/history.csv",
        "ensembles/complex/members.csv",
        "ensembles/complex/metrics.csv",
        "simplexes/espro/seed1/distances.csv",
        "simplexes/espro/seed1/volumes.csv",
        "simplexes/espro/seed1/connectors2/grid.csv",
        "simplexes/espro/seed1/connectors0/grid.csv",
    )
    rules = {each.rule for each in plan.jobs_of_artefacts(config, ["mine"])}
    assert rules >= {"train_network", "train_curve", "evaluate_plane", "train_simplex"}


def test_figures_can_be_selected_beside_the_artefacts_of_papers(root: Path) -> None:
    text = EVERYTHING + "select: [mine, garipov2018]\n"
    text += "artefacts: {garipov2018_trivial_path: {curves: [path]}}\n"
    text += "curves: {path: {kind: trivial_path, start: plain/1, end: plain/2}}\n"
    config = load(root, text)
    assert plan.selected_artefacts(config) == ["mine", "garipov2018_trivial_path"]
    everything = plan.selected_artefacts(config, ["garipov2018", "mine", "other"])
    unselected = config.model_copy(update={"select": []})
    assert plan.selected_artefacts(unselected) == everything
    (told,) = mistakes(root, EVERYTHING + "select: [othr]\n")
    assert told.startswith("config.yaml: select: 'othr' is no artefact of this scale; allowed: ")
    assert told.endswith("did you mean 'other'?")


def figure(**changes: str) -> str:
    given = {"draw": "drawings.py:draw", "title": "Mine", "caption": "What.", **changes}
    return "figures:\n  mine:\n" + "".join(f"    {key}: {given[key]}\n" for key in given)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"draw": "drawings.py:drow"},
            "figures.mine: figure 'drawings.py:drow': {root}/drawings.py defines no function "
            "'drow' at its top level; functions: draw, with_default, keywords, two, none; did you "
            "mean 'draw'?",
        ),
        ({"draw": "drawing.py:draw"}, "figures.mine: figure 'drawing.py:draw': there ..."),
        ({"draw": "draw"}, "figures.mine: figure 'draw' is no function; write package.module:..."),
        (
            {"draw": "drawings.py:two"},
            "figures.mine: figure 'drawings.py:two' ({root}/drawings.py, line 14): the function "
            "takes (results, colour); it is given the results alone: write def two(results)",
        ),
        ({"draw": "drawings.py:none"}, "figures.mine: figure 'drawings.py:none' (..."),
        ({"draw": "drawings.py:keywords"}, "figures.mine: figure 'drawings.py:keywords' (..."),
        ({"caption": ""}, "figures.mine.caption: is missing; give a text (what it shows and ..."),
        ({"curve": "[chain]"}, "figures.mine.curve: unknown key; allowed: caption, curves, ..."),
        (
            {"curves": "chain"},
            "figures.mine.curves: found 'chain'; it must be a list of texts; write [chain]",
        ),
        ({"curves": "[chian]"}, "figures.mine.curves: 'chian' is unknown; curves: chain, ..."),
        ({"curves": "[chain, chain]"}, "figures.mine.curves: names chain twice; each ..."),
        ({"planes": "[chain]"}, "figures.mine.planes: 'chain' is unknown; planes: bent"),
        ({"ensembles": "[complx]"}, "figures.mine.ensembles: 'complx' is unknown; ..."),
        (
            {"ensembles": "[spiral_complex]"},
            "figures.mine.ensembles: 'spiral_complex' is of data set 'spirals', whose networks are "
            "shown as functions; of a simplex on it no ensembles are measured",
        ),
        (
            {"networks": "[plain/1@2]"},
            "figures.mine.networks: plain/1@2 is a snapshot; only networks at the end of their "
            "training, recipe/seed, are measured on their own",
        ),
        ({"histories": "[plan/1]"}, "figures.mine.histories: 'plan' is unknown; recipes: ..."),
        ({"simplexes": "[espro]"}, "figures.mine.simplexes: 'espro' is no trained simplex; ..."),
        ({"samples": "[espro/1]"}, "figures.mine.samples: 'espro/1' names no points; write ..."),
        (
            {"samples": "[espro/1/3]"},
            "figures.mine.samples: found espro/1/3; simplex 'espro/1' has 2 connectors: lower it, "
            "or raise that of the simplex",
        ),
    ],
)
def test_one_mistake(root: Path, changes: dict[str, str], expected: str) -> None:
    (told,) = mistakes(root, figure(**changes))
    expected = f"config.yaml: {expected.format(root=root)}"
    assert told == expected or (expected.endswith("...") and told.startswith(expected[:-3]))


def test_every_mistake_is_told_with_those_of_the_rest(root: Path) -> None:
    text = figure(draw="drawings.py:drow") + "  other: {extends: mine, curves: 3}\n"
    text += "evaluation: {batch_size: 0}\nplanes: {bent: {third: chian}}\n"
    assert sorted(mistake.split(":")[1].strip() for mistake in mistakes(root, text)) == [
        "evaluation.batch_size",
        "figures.mine",
        "figures.other.curves",
        "planes.bent.third",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("garipov2018_figure1", "begins with garipov2018, as the artefacts of that paper do"),
        ("benton2021_mine", "begins with benton2021, as the artefacts of that paper do"),
        ("gotmare2018", "begins with gotmare2018, as the artefacts of that paper do"),
        ("train_network", "is a rule of the pipeline: call it otherwise"),
        ("all", "is a rule of the pipeline: call it otherwise"),
        ("My_figure", "is no name: use lower-case letters, digits and underscores"),
    ],
)
def test_names_that_are_taken(root: Path, name: str, expected: str) -> None:
    user = {"figures": {name: {"draw": "drawings.py:draw", "title": "a", "caption": "b"}}}
    with pytest.raises(ConfigError) as caught:
        load_config(user, root, targets=["train_network", "all"])
    (told,) = caught.value.mistakes
    assert told.startswith(f"config.yaml: figures.{name}: {expected}")
