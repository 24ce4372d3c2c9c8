"""Ensembles of components and samples in the config: what artefacts show, and wrong references."""

from pathlib import Path

import pytest
from small_configs import load, write_scale

from mode_connectivity.config import ConfigError, artefact_parts

CONFIG = """
datasets:
  digits: {title: Digits, source: digits}
  spirals: {title: Spirals, source: two_spirals}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [8]}
    training: {epochs: 3, learning_rate: 0.1}
  other: {extends: plain, network: {hidden: [9]}}
  spiral: {extends: plain, dataset: spirals}
curves:
  segment: {kind: segment, start: plain/1, end: plain/2}
  chain: {kind: polychain, start: plain/1, end: plain/2, training: {epochs: 2}}
planes:
  face: {start: "espro/1:w0", end: "espro/1:t1", third: "espro/1:t2"}
  networks: {start: plain/1, end: plain/2, third: plain/3}
simplexes:
  espro: {modes: [plain], connectors: 2, training: {epochs: 2}}
  free: {extends: espro, regularisation: 0.0}
  others: {extends: espro, modes: [other]}
  spirals: {extends: espro, modes: [spiral]}
ensembles:
  deep: {method: independent, recipes: [plain], seeds: [1, 2], budgets: [1, 2]}
  espro: {method: simplex, simplex: espro, connectors: 2, seeds: [1, 2], budgets: [1, 2]}
  free: {extends: espro, simplex: free}
  others: {extends: espro, simplex: others}
  spirals: {extends: espro, simplex: spirals}
  points: {method: curve_points, curve: chain, points: 3}
artefacts:
  benton2021_figure8: &components
    rows: {plain: {components: {Deep ensemble: deep, 2-simplex: espro}}}
  benton2021_figure_a7: *components
  benton2021_figure_a3: {regularised: [espro, free]}
  benton2021_figure_a4b: {rows: {plain: {sampled: {2-simplex: espro}}}}
  benton2021_figure_a5: {plane: face}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scale(tmp_path, CONFIG)


def test_parts_are_measured_ensembles_and_what_they_cost(root) -> None:
    artefacts = load(root).artefacts
    assert list(artefact_parts(artefacts.benton2021_figure8)) == [
        ("ensembles", "rows", "deep"),
        ("trainings", "rows", "deep"),
        ("ensembles", "rows", "espro"),
        ("trainings", "rows", "espro"),
    ]
    assert list(artefact_parts(artefacts.benton2021_figure_a4b)) == [
        ("predictions", "rows", "espro")
    ]
    assert list(artefact_parts(artefacts.benton2021_figure_a5)) == [("planes", "plane", "face")]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            "benton2021_figure8: {rows: {plain: {components: {Deep ensemble: depe}}}}",
            "benton2021_figure8.rows.plain.components",
            "'depe' is unknown",
        ),
        (
            "benton2021_figure8: {rows: {plain: {components: {Points: points}}}}",
            "benton2021_figure8.rows.plain.components",
            "the method of ensemble 'points' is curve_points",
        ),
        (
            "benton2021_figure8: {rows: {plain: {components: {Deep ensemble: others}}}}",
            "benton2021_figure8.rows.plain",
            "shows different networks",
        ),
        (
            "benton2021_figure9: {rows: {Plain: {components: {Deep ensemble: deep}}}}",
            "benton2021_figure9.rows.Plain",
            "is no name",
        ),
        (
            "benton2021_figure9: {rows: {plain: {components: {1-simplex: spirals}}}}",
            "benton2021_figure9.rows.plain.components",
            "shown as functions",
        ),
        (
            "benton2021_figure_a6: {rows: {plain: {sampled: {Complex: espor}}}}",
            "benton2021_figure_a6.rows.plain.sampled",
            "did you mean 'espro'",
        ),
        (
            "benton2021_figure_a3: {regularised: [espro, deep]}",
            "benton2021_figure_a3.regularised",
            "the method of ensemble 'deep' is independent",
        ),
        (
            "benton2021_figure_a3: {regularised: [espro, free, others]}",
            "benton2021_figure_a3.regularised",
            "two ensembles of simplexes with regularisation 1e-06",
        ),
        (
            "benton2021_figure_a5: {plane: networks}",
            "benton2021_figure_a5.plane",
            "goes through plain/1",
        ),
        (
            "benton2021_figure_a5: {plane: fase}",
            "benton2021_figure_a5.plane",
            "'fase' is unknown",
        ),
    ],
)
def test_wrong_references_are_told_where_they_are(root, text, place, message) -> None:
    with pytest.raises(ConfigError) as caught:
        load(root, f"artefacts: {{{text}}}")
    (line,) = [line for line in caught.value.mistakes if message in line]
    assert f"artefacts.{place}:" in line


def test_a_figure_of_regularisation_shows_simplexes_alone(root) -> None:
    with pytest.raises(ConfigError, match="a simplex with connectors and the budget 1 are shown"):
        load(root, "ensembles: {free: {connectors: 0}}")
