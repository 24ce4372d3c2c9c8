"""Figures of complexes in the config: the vertices, planes and connectors that they show."""

from pathlib import Path

import pytest
from small_configs import load, write_scale

from mode_connectivity.config import ConfigError, artefact_parts

CONFIG = """
datasets:
  digits: {title: Digits, source: digits}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [8]}
    training: {epochs: 3, learning_rate: 0.1}
simplexes:
  pair: {modes: [plain/1, plain/2], connectors: 3, training: {epochs: 2}}
  grown: {modes: [plain], connectors: 2, training: {epochs: 2}}
planes:
  first: {start: "pair/1:w0", end: "pair/1:w1", third: "pair/1:t1"}
  second: {start: "pair/1:w0", end: "pair/1:t1", third: "pair/1:t2"}
  other: {start: "grown/1:w0", end: "grown/1:t1", third: "grown/1:t2"}
  networks: {start: plain/1, end: plain/2, third: plain/3}
artefacts:
  benton2021_figure3: {faces: [first, second]}
  benton2021_figure4: {complexes: [pair/1, grown/2]}
  benton2021_figure5: {complex: pair/1, connectors: 2}
  benton2021_figure6: {faces: [other]}
  benton2021_figure_a2: {}
  benton2021_figure_a4a: {complexes: [pair/1], option: hidden}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scale(tmp_path, CONFIG)


def test_parts(root) -> None:
    artefacts = load(root).artefacts
    assert [*artefact_parts(artefacts.benton2021_figure3)] == [
        ("planes", "faces", "first"),
        ("planes", "faces", "second"),
    ]
    assert [*artefact_parts(artefacts.benton2021_figure4)] == [
        ("complexes", "complexes", "pair/1"),
        ("complexes", "complexes", "grown/2"),
    ]
    assert [*artefact_parts(artefacts.benton2021_figure5)] == [
        ("complexes", "complex", "pair/1"),
        ("samples", "connectors", "pair/1/1"),
        ("samples", "connectors", "pair/1/2"),
    ]
    assert [*artefact_parts(artefacts.benton2021_figure_a2)] == []
    assert artefacts.benton2021_figure_a2.samples == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "artefacts: {benton2021_figure4: {complexes: [pairs/1]}}",
            "artefacts.benton2021_figure4.complexes: 'pairs' is unknown; simplexes: grown, pair; "
            "did you mean 'pair'?",
        ),
        (
            "artefacts: {benton2021_figure4: {complexes: [pair]}}",
            "artefacts.benton2021_figure4.complexes: 'pair' is no trained simplex; write "
            "simplex/seed, such as espro/1",
        ),
        (
            "artefacts: {benton2021_figure5: {connectors: 4}}",
            "artefacts.benton2021_figure5.connectors: found 4; simplex 'pair/1' has 3 connectors: "
            "lower it, or raise that of the simplex",
        ),
        (
            "simplexes: {pair: {measure_train: false}}",
            "artefacts.benton2021_figure5.complex: the train accuracy of 'pair/1' is shown: set "
            "its measure_train: true",
        ),
        (
            "{datasets: {curve: {title: Regression, source: regression}}, "
            "recipes: {plain: {dataset: curve}}}",
            "artefacts.benton2021_figure5.complex: 'pair/1' is of data set 'curve', a regression, "
            "which has no test errors; only benton2021_figure10 shows one",
        ),
        (
            "artefacts: {benton2021_figure5: {accuracy: 101}}",
            "artefacts.benton2021_figure5.accuracy: found 101; it must be at most 100",
        ),
        (
            "artefacts: {benton2021_figure3: {faces: [first, fourth]}}",
            "artefacts.benton2021_figure3.faces: 'fourth' is unknown; planes: first, networks, "
            "other, second",
        ),
        (
            "artefacts: {benton2021_figure3: {faces: [first, other]}}",
            "artefacts.benton2021_figure3.faces: shows planes of different complexes: grown/1, "
            "pair/1; all must be of one",
        ),
        (
            "artefacts: {benton2021_figure6: {faces: [networks]}}",
            "artefacts.benton2021_figure6.faces: plane 'networks' goes through plain/1; a face has "
            "three vertices of a complex, such as espro/1:w0, espro/1:t1 and espro/1:t2",
        ),
        (
            "planes: {first: {third: 'pair/1:t4'}}",
            "planes.first.third: simplex 'pair' has no vertex t4; vertices: w0, w1, t1, t2, t3",
        ),
        (
            "artefacts: {benton2021_figure_a4a: {option: width}}",
            "artefacts.benton2021_figure_a4a.option: network 'fully_connected' of simplex 'pair/1' "
            "has no option 'width'; options: hidden",
        ),
        (
            "artefacts: {benton2021_figure_a2: {samples: 0}}",
            "artefacts.benton2021_figure_a2.samples: found 0; it must be greater than 0",
        ),
        (
            "simplexes: {grown: {modes: [plain, plain/2]}}",
            "artefacts.benton2021_figure4.complexes: with seed 2 two modes of simplex 'grown' are "
            "the same network, plain/2: the volume is zero; leave the seed out",
        ),
    ],
)
def test_mistakes(root, text, expected) -> None:
    with pytest.raises(ConfigError) as caught:
        load(root, text)
    assert expected in [mistake.split(": ", 1)[1] for mistake in caught.value.mistakes]
