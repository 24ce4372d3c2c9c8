"""SWAG in the config: what it is fitted to, and where its samples are shown."""

from pathlib import Path

import pytest
from small_configs import load, write_scale

from mode_connectivity.config import ConfigError, artefact_parts
from mode_connectivity.cost import job_cost

CONFIG = """
datasets:
  digits: {title: Digits, source: digits}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [8]}
    training: {epochs: 30, learning_rate: 0.1, snapshots: {first: 21}}
  normalised: {extends: plain, network: {name: preresnet, depth: 8}}
curves:
  chain:
    kind: polychain
    start: normalised/1
    end: normalised/2
    training: {epochs: 20, snapshots: {first: 11}}
  bezier: {extends: chain, kind: bezier}
  segment: {kind: segment, start: normalised/1, end: normalised/2}
planes:
  chain: {start: normalised/1, end: normalised/2, third: chain, samples: bends}
ensembles:
  swag: {method: swag, recipes: [plain], seeds: [1, 2], budgets: [1, 2], rank: 10, samples: 7}
  bends: {method: curve_swag, curve: chain, rank: 5, samples: 4}
artefacts:
  benton2021_figure2: {plane: chain, curve_swag: bends}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scale(tmp_path, CONFIG)


def test_loaded(root) -> None:
    config = load(root)
    swag = config.ensembles["swag"]
    assert (swag.rank, swag.samples, swag.scale, swag.variance_floor) == (10, 7, 0.5, 1e-6)
    assert [str(member) for member in config.members("swag")] == [
        f"plain/{seed}@{epoch}" for seed in (1, 2) for epoch in range(21, 31)
    ]
    assert config.recipe_of_ensemble("bends") is config.recipes["normalised"]
    assert list(artefact_parts(config.artefacts.benton2021_figure2)) == [
        ("planes", "plane", "chain"),
        ("ensembles", "curve_swag", "bends"),
    ]


# Of the 1,797 digits a fifth, rounded up, are for testing.
TRAIN, TEST = 1437, 360


@pytest.mark.parametrize(
    ("rule", "ensemble", "evaluations"),
    [
        ("collect_swag_members", "swag", 2 * 7 * TEST),
        # Statistics anew, and both parts.
        ("collect_bend_samples", "bends", 4 * (2 * TRAIN + TEST)),
    ],
)
def test_costs(root, rule, ensemble, evaluations) -> None:
    cost = job_cost(load(root), rule, {"ensemble": ensemble}, root / "results")
    assert cost.evaluations == evaluations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ensembles: {swag: {rank: 11}}",
            "ensembles.swag.rank: found 11, more than the 10 snapshots that recipe 'plain' keeps: "
            "set rank to at most 10, or keep more (its training.snapshots)",
        ),
        (
            "recipes: {plain: {training: {snapshots: [30]}}}",
            "ensembles.swag.recipes: recipe 'plain' keeps 1 snapshot; SWAG is fitted to at least "
            "2: set its training.snapshots, such as to {first: 20}",
        ),
        (
            "ensembles: {swag: {samples: 0}}",
            "ensembles.swag.samples: found 0; it must be greater than 0",
        ),
        ("ensembles: {swag: {rank: 1}}", "ensembles.swag.rank: found 1; it must be at least 2"),
        (
            "ensembles: {swag: {scale: -0.5}}",
            "ensembles.swag.scale: found -0.5; it must be at least 0",
        ),
        (
            "ensembles: {bends: {rank: 12}}",
            "ensembles.bends.rank: found 12, more than the 10 snapshots that curve 'chain' keeps: "
            "set rank to at most 10, or keep more (its training.snapshots)",
        ),
        (
            "curves: {chain: {training: {snapshots: []}}}",
            "ensembles.bends.curve: curve 'chain' keeps no snapshots; SWAG is fitted to at least "
            "2: set its training.snapshots, such as to {first: 20}",
        ),
        (
            "curves: {chain: {bends: 2}}",
            "ensembles.bends.curve: curve 'chain', a polychain, has 2 bends; SWAG is fitted to the "
            "one of a polychain or a bezier with bends: 1",
        ),
        (
            "ensembles: {more: {extends: bends, curve: segment}}",
            "ensembles.more.curve: curve 'segment', a segment, has no bend; SWAG is fitted to the "
            "one of a polychain or a bezier with bends: 1",
        ),
        (
            "planes: {more: {extends: chain, samples: swag}}",
            "planes.more.samples: the method of ensemble 'swag' is swag; it must be curve_swag",
        ),
        (
            "planes: {more: {extends: chain, samples: bend}}",
            "planes.more.samples: 'bend' is unknown; ensembles: bends, swag; did you mean 'bends'?",
        ),
        (
            "planes: {more: {extends: chain, third: bezier}}",
            "planes.more.samples: ensemble 'bends' has samples of the bend of curve 'chain', but "
            "the third point of the plane is bezier; name that curve there",
        ),
        (
            "planes: {chain: {samples: }, more: {extends: chain}}",
            None,
        ),
        (
            "artefacts: {benton2021_figure2: {curve_swag: swag}}",
            "artefacts.benton2021_figure2.curve_swag: the method of ensemble 'swag' is swag; it "
            "must be curve_swag",
        ),
        (
            "artefacts: {garipov2018_table1: {rows: {a: {ensembles: [swag]}}}}",
            "artefacts.garipov2018_table1.rows.a.ensembles: the method of ensemble 'swag' is swag; "
            "it must be independent or snapshot or fast_geometric or weight_average",
        ),
    ],
)
def test_mistakes(root, text, expected) -> None:
    if expected is None:
        expected = (
            "artefacts.benton2021_figure2.curve_swag: plane 'chain' shows the samples of no "
            "ensemble; set its samples to bends"
        )
    with pytest.raises(ConfigError) as caught:
        load(root, text)
    assert expected in [mistake.split(": ", 1)[1] for mistake in caught.value.mistakes]


def test_the_figure_needs_a_chain(root) -> None:
    with pytest.raises(ConfigError, match=r"curve 'chain' is a bezier; it must be a polychain"):
        load(root, "curves: {chain: {kind: bezier}}")
