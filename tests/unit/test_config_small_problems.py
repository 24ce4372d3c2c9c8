"""Two spirals, regressions and subspaces in the config."""

from pathlib import Path

import pytest
from small_configs import load, write_scale

from mode_connectivity.config import ConfigError, artefact_parts
from mode_connectivity.ensembling.settings import SubspaceEnsembleSettings

CONFIG = """
datasets:
  spirals: {title: Spirals, source: two_spirals}
  regression: {title: Regression, source: regression}
  digits: {title: Digits, source: digits}
recipes:
  spirals:
    dataset: spirals
    network: {name: fully_connected, hidden: [8]}
    training: {epochs: 3, learning_rate: 0.1}
  regression:
    extends: spirals
    dataset: regression
    network: {name: regression_mlp}
  digits:
    extends: spirals
    dataset: digits
curves:
  bezier: {kind: bezier, start: regression/1, end: regression/2, training: {epochs: 2}}
  segment: {kind: segment, start: regression/1, end: regression/2}
  trivial: {kind: trivial_path, start: regression/1, end: regression/2}
ensembles:
  spirals: {method: independent, recipes: [spirals], seeds: [1]}
  networks: {method: independent, recipes: [regression], seeds: [1, 2]}
  digits: {method: independent, recipes: [digits], seeds: [1]}
  subspace: {method: subspace, curve: bezier, temperature: 0.75}
artefacts:
  benton2021_figure7: {members: spirals}
  benton2021_figure10: {deep_ensemble: networks, subspace: subspace}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scale(tmp_path, CONFIG)


def test_loaded(root) -> None:
    config = load(root)
    subspace = config.ensembles["subspace"]
    assert isinstance(subspace, SubspaceEnsembleSettings)
    assert (subspace.samples, subspace.temperature, subspace.prior_sigma) == (1000, 0.75, 1.0)
    assert (subspace.seeds, subspace.budgets) == ([1], [1])
    assert config.recipe_of_ensemble("subspace") is config.recipes["regression"]
    assert config.datasets["regression"].counts == [115, 136, 149]
    assert [*artefact_parts(config.artefacts.benton2021_figure10)] == [
        ("functions", "deep_ensemble", "networks"),
        ("functions", "subspace", "subspace"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "recipes: {spirals: {training: {augmentation: {transforms: [flip]}}}}",
            "recipes.spirals.training.augmentation: data set 'spirals' has points, which are not "
            "augmented",
        ),
        (
            "ensembles: {subspace: {curve: segment}}",
            "ensembles.subspace.curve: curve 'segment' is a segment and has no bend",
        ),
        ("ensembles: {subspace: {curve: bezir}}", "did you mean 'bezier'?"),
        ("ensembles: {subspace: {samples: 0}}", "ensembles.subspace.samples: found 0"),
        ("ensembles: {subspace: {temperature: 0.0}}", "ensembles.subspace.temperature: found 0"),
        ("datasets: {regression: {counts: [1]}}", "counts has 1 numbers for 3 intervals"),
        (
            "artefacts: {benton2021_figure10: {deep_ensemble: digits}}",
            "artefacts.benton2021_figure10.deep_ensemble: ensemble 'digits' is of data set "
            "'digits', of source digits; it must be of source regression",
        ),
        (
            "artefacts: {benton2021_figure10: {deep_ensemble: subspace}}",
            "the method of ensemble 'subspace' is subspace; it must be independent",
        ),
        (
            "artefacts: {benton2021_figure7: {members: networks}}",
            "it must be of source two_spirals",
        ),
        ("artefacts: {benton2021_figure7: {members: spiral}}", "did you mean 'spirals'?"),
        (
            "artefacts: {garipov2018_table1: {rows: {mine: {ensembles: [networks]}}}}",
            "'networks' is of data set 'regression', a regression, which has no test errors",
        ),
        (
            "artefacts: {garipov2018_trivial_path: {curves: [trivial]}}",
            "'trivial' is of data set 'regression', a regression, which has no test errors",
        ),
        (
            "recipes: {digits: {initialisation: {scheme: torch, new_head: true}}}",
            "recipes.digits.initialisation: scheme torch draws every layer: take `new_head` out",
        ),
    ],
)
def test_mistakes(root, text, expected) -> None:
    with pytest.raises(ConfigError) as caught:
        load(root, text)
    assert any(expected in mistake for mistake in caught.value.mistakes), str(caught.value)
