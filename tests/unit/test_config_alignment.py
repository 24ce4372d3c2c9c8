"""Aligned and renormalised curves in the config: which there are, their cost, who shows them."""

from pathlib import Path

import pytest
import torch
from small_configs import load, write_scale
from torch import nn

from mode_connectivity.config import WITH_ATTENTION, ConfigError
from mode_connectivity.cost import job_cost
from mode_connectivity.networks import registry
from mode_connectivity.networks.sizes import network_size
from mode_connectivity.resources import estimate

CONFIG = """
datasets:
  digits: {title: Digits, source: digits}
  large: {extends: digits, image_size: 32}
  words: {title: Words, source: ptb}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [8]}
    training: {epochs: 5, learning_rate: 0.1, snapshots: [2, 4]}
  deep: {extends: plain, dataset: large, network: {name: vgg16}}
  attending: {extends: plain, network: {name: vision_transformer}}
  language: {dataset: words, network: {name: lstm}, training: {epochs: 2, learning_rate: 1.0}}
curves:
  segment: {kind: segment, start: plain/1, end: plain/2, points: 11}
  aligned: {extends: segment, alignment: {}}
  by_weights: {extends: segment, alignment: {matching: weights, seed: 3}}
  few: {extends: segment, alignment: {examples: 100}, renormalise: true}
  renormalised: {extends: segment, renormalise: true}
  bezier: {extends: segment, kind: bezier, training: {epochs: 3, snapshots: [1, 3]}}
  chain: {extends: bezier, kind: polychain}
  aligned_bezier: {extends: bezier, alignment: {examples: 100}}
  of_deep: {extends: segment, start: deep/1, end: deep/2}
  of_deep_aligned: {extends: of_deep, alignment: {}}
  of_attending: {extends: segment, start: attending/1, end: attending/2, alignment: {}}
  of_words: {kind: segment, start: language/1, end: language/2}
ensembles:
  points: {method: curve_points, curve: few, points: 6}
artefacts:
  garipov2018_table2: {rows: {plain: {curves: [segment, bezier, chain, aligned, renormalised]}}}
  garipov2018_table3: {rows: {words: {curves: [of_words]}}}
"""
# Of the 1,797 digits a fifth, rounded up, are for testing.
TRAIN, TEST = 1437, 360


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scale(tmp_path, CONFIG)


def test_loaded(root) -> None:
    curves = load(root).curves
    alignment = curves["aligned"].alignment
    assert (alignment.matching, alignment.examples, alignment.seed) == ("activations", 1000, 0)
    assert (curves["by_weights"].alignment.matching, curves["by_weights"].alignment.seed) == (
        "weights",
        3,
    )
    assert {name: curve.variant for name, curve in curves.items() if curve.variant} == {
        **dict.fromkeys(("aligned", "by_weights", "few", "aligned_bezier"), "aligned"),
        **dict.fromkeys(("of_deep_aligned", "of_attending"), "aligned"),
        "renormalised": "renormalised",
    }


# Statistics are measured at both ends, and at every point beside the two parts.
RENORMALISED = 2 * TRAIN + 11 * (2 * TRAIN + TEST)


@pytest.mark.parametrize(
    ("rule", "wildcards", "evaluations"),
    [
        ("evaluate_curve", {"curve": "segment"}, 11 * (TRAIN + TEST)),
        ("evaluate_curve", {"curve": "by_weights"}, 11 * (TRAIN + TEST)),
        ("evaluate_curve", {"curve": "aligned"}, 2 * 1000 + 11 * (TRAIN + TEST)),
        ("evaluate_curve", {"curve": "renormalised"}, RENORMALISED),
        ("evaluate_curve", {"curve": "few"}, 2 * 100 + RENORMALISED),
        ("train_curve", {"curve": "aligned_bezier"}, 2 * 100 + 3 * 3 * TRAIN),
        # Its vertices are there by then.
        ("evaluate_curve", {"curve": "aligned_bezier"}, 11 * (TRAIN + TEST)),
        (
            "collect_curve_members",
            {"ensemble": "points"},
            2 * 100 + 2 * TRAIN + 6 * (2 * TRAIN + TEST),
        ),
    ],
)
def test_costs(root, tmp_path, rule, wildcards, evaluations) -> None:
    assert job_cost(load(root), rule, wildcards, tmp_path).evaluations == evaluations


def test_no_more_examples_are_compared_than_there_are(root, tmp_path) -> None:
    config = load(root, "curves: {aligned: {alignment: {examples: 5000}}}")
    cost = job_cost(config, "evaluate_curve", {"curve": "aligned"}, tmp_path)
    assert cost.evaluations == 2 * TRAIN + 11 * (TRAIN + TEST)


def test_memory_of_what_is_compared(root, tmp_path) -> None:
    """The values of 100 images in two networks, and copies of a network of 15 million weights."""
    config = load(root, "device: cpu")

    def memory(curve: str) -> float:
        return estimate(config, "evaluate_curve", {"curve": curve}, tmp_path).memory_mb

    size = network_size("vgg16", input_shape=(1, 32, 32), classes=10, options={})
    assert size is not None
    batch = 8 * 4 * 360 * size.widest
    compared = 4 * 100 * 2 * (2 * size.activations + 4 * size.widest)
    expected = 3 * 4 * size.parameters + max(0, compared - batch)
    assert memory("of_deep_aligned") - memory("of_deep") == pytest.approx(expected / 2**20, abs=1)


MISTAKES = [
    (
        "curves: {mine: {extends: segment, kind: random_segment, alignment: {}}}",
        "curves.mine: only a segment, a polychain or a bezier is aligned, and this is a "
        "random_segment: take alignment out",
    ),
    (
        "curves: {mine: {extends: aligned, kind: trivial_path}}",
        "curves.mine: only a segment, a polychain or a bezier is aligned, and this is a "
        "trivial_path: take alignment out",
    ),
    (
        "curves: {bezier: {renormalise: true}}",
        "curves.bezier: only a segment is renormalised, and this is a bezier: take renormalise out",
    ),
    (
        "curves: {aligned: {alignment: {matching: weight}}}",
        "curves.aligned.alignment.matching: found 'weight'; it must be one of activations, "
        "weights; did you mean 'weights'?",
    ),
    (
        "curves: {aligned: {alignment: {examples: 0}}}",
        "curves.aligned.alignment.examples: found 0; it must be greater than 0",
    ),
    (
        "curves: {aligned: {alignment: {example: 5}}}",
        "curves.aligned.alignment.example: unknown key; allowed: examples, matching, seed; did "
        "you mean 'examples'?",
    ),
    (
        "curves: {of_words: {alignment: {}}}",
        "curves.of_words.alignment: a language model is recurrent, and only feed-forward networks "
        "are traced: leave alignment out",
    ),
    (
        "curves: {of_words: {renormalise: true}}",
        "curves.of_words.renormalise: a language model is recurrent, and only feed-forward "
        "networks are traced: leave renormalise out",
    ),
    (
        "curves: {of_attending: {renormalise: true}}",
        "curves.of_attending.renormalise: network 'vision_transformer' has attention, whose "
        "queries, keys and values have no statistics that could be set: leave renormalise out",
    ),
    (
        "artefacts: {garipov2018_table2: {rows: {plain: {curves: [aligned, bezier]}}}}",
        "artefacts.garipov2018_table2.rows.plain: names 0 segments; it must be exactly one",
    ),
    (
        "artefacts: {garipov2018_table2: {rows: {plain: {curves: [segment, aligned, few]}}}}",
        "artefacts.garipov2018_table2.rows.plain: names two curves of the kind aligned segment; "
        "one a row is shown",
    ),
    (
        "artefacts: {garipov2018_figure3: {curves: [aligned_bezier], option: hidden}}",
        "artefacts.garipov2018_figure3.curves: curve 'aligned_bezier' is aligned; only "
        "garipov2018_table2 shows such a curve: name one as the papers have it",
    ),
    (
        """
        curves: {aligned_chain: {extends: aligned_bezier, kind: polychain}}
        artefacts:
          gotmare2018_modes: {rows: {mine: {segment: renormalised, polychain: aligned_chain}}}
        """,
        "artefacts.gotmare2018_modes.rows.mine.segment: curve 'renormalised' is renormalised; only "
        "garipov2018_table2 shows such a curve: name one as the papers have it",
    ),
    (
        """
        curves: {aligned_chain: {extends: aligned_bezier, kind: polychain}}
        artefacts: {gotmare2018_figure1: {connections: {GA: aligned_chain}}}
        """,
        "artefacts.gotmare2018_figure1.connections: curve 'aligned_chain' is aligned; only ",
    ),
    (
        "planes: {mine: {start: plain/1, end: plain/2, third: aligned_bezier, points: 3}}",
        "planes.mine.third: curve 'aligned_bezier' is aligned, so that its end is not the "
        "plane's: name one without alignment",
    ),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_mistakes(root, text, message) -> None:
    with pytest.raises(ConfigError) as caught:
        load(root, text)
    assert any(f"config.yaml: {message}" in line for line in caught.value.mistakes)


def test_a_bend_between_aligned_networks_is_a_point_like_any_other(root) -> None:
    load(root, "geometries: {mine: {points: {A: plain/1, B: plain/2, bend: aligned_bezier}}}")


def test_attention_is_in_the_networks_that_are_said_to_have_it() -> None:
    shapes = {"lstm": (), "regression_mlp": (1,)}
    found = []
    for name in registry.available():
        with torch.device("meta"):
            shape = shapes.get(name, (3, 224, 224))
            network = registry.build(name, input_shape=shape, classes=10)
        if any(isinstance(module, nn.MultiheadAttention) for module in network.modules()):
            found.append(name)
    assert sorted(found) == sorted(WITH_ATTENTION)
