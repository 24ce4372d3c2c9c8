import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import yaml

from mode_connectivity.config import (
    LISTED,
    ConfigError,
    artefact_names,
    artefact_parts,
    load_config,
    merge,
)
from mode_connectivity.settings import UserError
from mode_connectivity.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
SHIPPED = [s for s in ("demo", "paper") if any((ROOT / "config" / s).glob("*.yaml"))]

RECIPES = """
evaluation: {batch_size: 50}
datasets:
  digits: {title: Digits, source: digits}
  small: {extends: digits, image_size: 16}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [4, 4]}
    training:
      epochs: 20
      batch_size: 32
      learning_rate: 0.05
      optimiser: {name: adam, weight_decay: 0.1}
      schedule: {name: step, milestones: [10], factor: 0.2}
      snapshots: [5, 10]
  wide: {extends: plain, network: {hidden: [8, 8]}}
  other_data: {extends: plain, dataset: small}
"""
CURVES = """
curves:
  segment: {kind: segment, start: plain/1, end: plain/2, points: 11, predictions: true}
  random: {extends: segment, kind: random_segment}
  trivial: {extends: segment, kind: trivial_path}
  bezier: {extends: segment, kind: bezier, training: {epochs: 6}}
  polychain: {extends: bezier, kind: polychain}
planes:
  independent: {start: plain/1, end: plain/2, third: plain/3}
  of_bezier: {extends: independent, third: bezier}
  of_polychain: {extends: independent, third: polychain}
ensembles:
  points: {method: curve_points, curve: polychain}
artefacts:
  garipov2018_table2: {rows: {plain: {curves: [segment, bezier, polychain]}}}
  garipov2018_curve_ensemble: {curve_points: points, networks: [plain/1, plain/2, plain/3]}
  garipov2018_trivial_path: {curves: [trivial]}
  garipov2018_figure1: &planes
    {independent: independent, bezier: of_bezier, polychain: of_polychain}
  garipov2018_figure2:
    {segment: segment, bezier: bezier, polychain: polychain, curve_points: points}
  garipov2018_figure3: {curves: [bezier], option: hidden}
  garipov2018_figure4: {segment: segment, polychain: polychain, random_segment: random}
  garipov2018_figure8: *planes
"""
NAMED = ("datasets", "recipes", "curves", "planes", "geometries", "ensembles", "artefacts")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "config" / "demo"
    folder.mkdir(parents=True)
    (folder / "recipes.yaml").write_text(RECIPES)
    (folder / "curves.yaml").write_text(CURVES)
    return tmp_path


def user(text: str) -> dict[str, Any]:
    content = yaml.safe_load(text)
    assert content is None or isinstance(content, dict)
    return content or {}


def mistakes(root: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(user(text), root)
    count = len(caught.value.mistakes)
    heading, *lines = str(caught.value).splitlines()
    assert heading == f"the config has {count} mistake{'s' if count > 1 else ''}:"
    assert lines == [f"  {mistake}" for mistake in caught.value.mistakes]
    return caught.value.mistakes


def test_valid_config_is_loaded(root: Path) -> None:
    config = load_config({}, root)
    assert config.scale == "demo"
    assert config.evaluation.batch_size == 50
    assert list(config.datasets) == ["digits", "small"]
    assert config.datasets["small"].title == "Digits"
    assert config.datasets["small"].image_size == 16
    assert config.recipes["wide"].network.options == {"hidden": [8, 8]}
    assert config.curves["random"].points == 11
    assert config.recipe_of_curve("bezier") is config.recipes["plain"]
    assert config.recipe_of_plane("independent") is config.recipes["plain"]
    assert config.ensembles["points"].points == 50
    assert config.artefacts.garipov2018_figure7 is None
    assert config.artefacts.garipov2018_figure8 == config.artefacts.garipov2018_figure1


def test_artefacts_and_rows_have_names(root: Path) -> None:
    assert artefact_names(load_config({}, root)) == [
        "garipov2018_table2",
        "garipov2018_table2_plain",
        "garipov2018_curve_ensemble",
        "garipov2018_trivial_path",
        "garipov2018_figure1",
        "garipov2018_figure2",
        "garipov2018_figure3",
        "garipov2018_figure4",
        "garipov2018_figure8",
    ]


@pytest.mark.parametrize(
    ("artefact", "parts"),
    [
        (
            "garipov2018_table2",
            [("curves", "rows", name) for name in ("segment", "bezier", "polychain")],
        ),
        (
            "garipov2018_curve_ensemble",
            [
                ("ensembles", "curve_points", "points"),
                *(("networks", "networks", f"plain/{seed}") for seed in (1, 2, 3)),
            ],
        ),
        ("garipov2018_trivial_path", [("curves", "curves", "trivial")]),
        (
            "garipov2018_figure1",
            [
                ("planes", "independent", "independent"),
                ("planes", "bezier", "of_bezier"),
                ("planes", "polychain", "of_polychain"),
            ],
        ),
        (
            "garipov2018_figure2",
            [
                *(("curves", name, name) for name in ("segment", "bezier", "polychain")),
                ("ensembles", "curve_points", "points"),
            ],
        ),
        (
            "garipov2018_figure4",
            [
                ("curves", "segment", "segment"),
                ("curves", "polychain", "polychain"),
                ("curves", "random_segment", "random"),
            ],
        ),
    ],
)
def test_parts_of_an_artefact(root: Path, artefact: str, parts: list[tuple[str, str, str]]) -> None:
    artefacts = load_config({}, root).artefacts
    assert list(artefact_parts(getattr(artefacts, artefact))) == parts


def test_users_config_goes_over_that_of_the_scale(root: Path) -> None:
    config = load_config(
        user(
            """
            results: /scratch
            threads: 3
            select: [garipov2018, garipov2018_table2_mine]
            evaluation: {augment_metrics: true}
            recipes:
              plain: {training: {epochs: 30}}
              mine: {extends: wide, training: {snapshots: [7]}}
            curves:
              mine: {extends: segment, start: mine/1, end: mine/2@7}
            artefacts:
              garipov2018_table2: {rows: {mine: {curves: [mine]}}}
            """
        ),
        root,
    )
    assert (config.results, config.threads, config.data) == ("/scratch", 3, "data")
    assert config.evaluation.batch_size == 50
    assert config.evaluation.augment_metrics
    assert config.recipes["plain"].training.epochs == 30
    assert config.recipes["wide"].training.epochs == 30
    assert config.recipes["mine"].training.snapshots == [7]
    assert config.recipes["mine"].network.options == {"hidden": [8, 8]}
    assert config.artefacts.garipov2018_table2 is not None
    assert list(config.artefacts.garipov2018_table2.rows) == ["plain", "mine"]


def test_what_snakemake_hands_over_is_accepted_and_left_alone(root: Path) -> None:
    given = OrderedDict(
        scale="demo",
        pathvars={"results": "/scratch"},
        recipes=OrderedDict(mine=OrderedDict(extends="plain", training={"epochs": 30})),
        curves=OrderedDict(mine={"extends": "bezier", "start": "mine/1", "end": "mine/2"}),
    )
    before = repr(given)
    assert load_config(given, root).curves["mine"].points == 11
    assert repr(given) == before


@pytest.mark.parametrize("key", [*NAMED, "evaluation", "select", "scale", "results", "threads"])
def test_key_left_empty_in_the_users_config_changes_nothing(root: Path, key: str) -> None:
    assert load_config({key: None}, root) == load_config({}, root)


@pytest.mark.parametrize("section", NAMED)
def test_section_left_empty_in_the_only_file_has_nothing(tmp_path: Path, section: str) -> None:
    (tmp_path / "config" / "demo").mkdir(parents=True)
    (tmp_path / "config" / "demo" / "a.yaml").write_text(f"{section}:\n")
    config = load_config({}, tmp_path)
    assert artefact_names(config) == []
    assert not (config.datasets or config.recipes or config.curves)
    assert not (config.planes or config.ensembles)


def test_empty_training_of_a_curve_is_none(root: Path) -> None:
    config = load_config(
        user("curves: {straight: {extends: bezier, kind: segment, training:}}"), root
    )
    assert config.curves["straight"].training is None
    (mistake,) = mistakes(root, "curves: {bent: {extends: bezier, training:}}")
    assert mistake == (
        "config.yaml: curves.bent: a bezier is trained: give its training, such as {epochs: 50}; "
        "what is left out is that of the recipe at its start"
    )


def test_empty_training_of_a_recipe_is_missing(root: Path) -> None:
    assert mistakes(root, "recipes: {mine: {extends: plain, training:}}") == [
        "config.yaml: recipes.mine.training: is missing; give a block (key: value) with the keys "
        "epochs, batch_size, learning_rate, optimiser, schedule, augmentation, gradient_clipping, "
        "window, snapshots, average_snapshots, checkpoints, records_per_epoch, record_test, "
        "precision"
    ]


def test_empty_key_takes_back_what_was_inherited(root: Path) -> None:
    config = load_config(
        user(
            """
            datasets: {digits2: {extends: small, image_size: }}
            recipes: {mine: {extends: plain, training: {schedule: , snapshots: }}}
            artefacts: {garipov2018_figure8: }
            """
        ),
        root,
    )
    assert config.datasets["digits2"].image_size is None
    assert config.recipes["mine"].training.schedule.name == "piecewise_linear"
    assert config.recipes["mine"].training.snapshots == []
    assert "garipov2018_figure8" not in artefact_names(config)


def test_records_may_extend_in_any_order_and_over_several_steps(root: Path) -> None:
    config = load_config(
        user(
            """
            curves:
              c: {extends: b, points: 4}
              b: {extends: a, end: plain/3, training: {learning_rate: 0.5}}
              a: {extends: polychain, points: 3, bends: 2}
            """
        ),
        root,
    )
    curve = config.curves["c"]
    assert (curve.points, curve.end, curve.bends, curve.kind) == (4, "plain/3", 2, "polychain")
    assert curve.training is not None
    assert (curve.training.epochs, curve.training.learning_rate) == (6, 0.5)


def test_curves_training_begins_with_that_of_its_starts_recipe(root: Path) -> None:
    config = load_config({}, root)
    training, of_recipe = config.curves["bezier"].training, config.recipes["plain"].training
    assert training is not None
    assert training.epochs == 6
    assert training.snapshots == []
    for key in ("batch_size", "learning_rate", "optimiser", "schedule", "augmentation"):
        assert getattr(training, key) == getattr(of_recipe, key)


def test_curves_training_follows_its_own_start(root: Path) -> None:
    config = load_config(
        user(
            """
            recipes: {slow: {extends: plain, training: {learning_rate: 0.001}}}
            curves: {slow: {extends: bezier, start: slow/1, end: slow/2@5}}
            """
        ),
        root,
    )
    training = config.curves["slow"].training
    assert training is not None
    assert (training.learning_rate, training.epochs) == (0.001, 6)


def test_schedule_of_the_same_name_is_merged_and_of_another_replaced(root: Path) -> None:
    config = load_config(
        user(
            """
            curves:
              same: {extends: bezier, training: {schedule: {milestones: [2, 4]}}}
              other: {extends: bezier, training: {schedule: {name: cosine}}}
            """
        ),
        root,
    )
    same, other = (config.curves[name].training for name in ("same", "other"))
    assert same is not None
    assert other is not None
    assert same.schedule.model_dump() == {
        "per": "epoch",
        "name": "step",
        "milestones": [2, 4],
        "factor": 0.2,
    }
    assert other.schedule.model_dump() == {"per": "epoch", "name": "cosine", "minimum": 0.0}


def test_network_of_another_name_shares_no_options(root: Path) -> None:
    config = load_config(
        user("recipes: {vgg: {extends: plain, network: {name: vgg16, width: 4}}}"), root
    )
    assert config.recipes["vgg"].network.options == {"width": 4}


def test_merge() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    over = {"a": {"c": [3]}, "d": {"e": 4}, "f": None}
    merged = merge(base, over)
    assert merged == {"a": {"b": 1, "c": [3]}, "d": {"e": 4}, "f": None}
    merged["a"]["c"].append(5)
    merged["d"]["e"] = 6
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert over == {"a": {"c": [3]}, "d": {"e": 4}, "f": None}


def test_all_mistakes_are_told_at_once(root: Path) -> None:
    told = mistakes(
        root,
        """
        threads: 0
        select: [garipov2019]
        curvs: {}
        evaluation: {batch_size: none}
        datasets: {digits: {titel: Digits}}
        recipes: {plain: {network: {hiden: 3}, training: {epochs: -1, learning_rate: 5e-2}}}
        curves: {bezier: {points: 1, end: plian/2}, Bad: {}}
        planes: {independent: {third: plain}}
        ensembles: {points: {method: curve_points, curve: polychian}}
        artefacts: {garipov2018_figure3: {option: width}, garipov2018_figure9: {}}
        """,
    )
    assert [mistake.split(": ")[1] for mistake in told] == [
        "curves.Bad",
        "datasets.digits.titel",
        "recipes.plain.network",
        "recipes.plain.training.epochs",
        "recipes.plain.training.learning_rate",
        "curves.bezier.points",
        "threads",
        "evaluation.batch_size",
        "curvs",
        "artefacts.garipov2018_figure9",
        "curves.bezier.end",
        "planes.independent.third",
        "ensembles.points.curve",
        "select",
    ]
    assert all(mistake.startswith("config.yaml: ") for mistake in told)


ONE_MISTAKE = [
    # unknown keys, at every level
    (
        "curvs: {}",
        "config.yaml: curvs: unknown key; allowed: artefacts, claims, container, curves, ",
        "'curves'",
    ),
    ("curvs:", "config.yaml: curvs: unknown key; allowed: ", "'curves'"),
    ("evaluation: {bach_size: 3}", "config.yaml: evaluation.bach_size: unknown", "'batch_size'"),
    ("recipes: {plain: {trainin: {}}}", "config.yaml: recipes.plain.trainin: unk", "'training'"),
    ("recipes: {plain: {extend: a}}", "config.yaml: recipes.plain.extend: unkn", "'extends'"),
    (
        "recipes: {plain: {batch_size: 3}}",
        "config.yaml: recipes.plain.batch_size: unknown",
        "'training.batch_size'",
    ),
    (
        "recipes: {plain: {training: {epoch: 3}}}",
        "config.yaml: recipes.plain.training.epoch: unknown key; allowed: augmentation, "
        "average_snapshots, batch_size",
        "'epochs'",
    ),
    (
        "recipes: {plain: {training: {optimiser: {momentun: 0.3}}}}",
        "config.yaml: recipes.plain.training.optimiser.momentun: unknown key; allowed: momentum, ",
        "'momentum'",
    ),
    (
        "recipes: {plain: {training: {schedule: {milestone: [3]}}}}",
        "config.yaml: recipes.plain.training.schedule.milestone: unknown key; allowed: factor, ",
        "'milestones'",
    ),
    (
        "recipes: {plain: {network: {hiden: [3]}}}",
        "config.yaml: recipes.plain.network: network 'fully_connected': option 'hiden' is unknown",
        "'hidden'",
    ),
    ("curves: {bezier: {bend: 3}}", "config.yaml: curves.bezier.bend: unknown", "'bends'"),
    ("planes: {of_bezier: {margins: 1}}", "config.yaml: planes.of_bezier.margins: ", "'margin'"),
    (
        "artefacts: {garipov2018_table2: {rows: {plain: {curve: []}}}}",
        "config.yaml: artefacts.garipov2018_table2.rows.plain.curve: unknown",
        "'curves'",
    ),
    (
        "artefacts: {garipov2018_figure22: {}}",
        "config.yaml: artefacts.garipov2018_figure22: unknown key; allowed: benton2021_c1, ",
        "'garipov2018_figure2'",
    ),
    ("1: a", "config.yaml: 1: unknown key; allowed: ", ""),
    # unknown names
    (
        "recipes: {plain: {network: {name: fully_conected}}}",
        "config.yaml: recipes.plain.network: network 'fully_conected' is unknown; networks: ",
        "'fully_connected'",
    ),
    (
        "recipes: {plain: {dataset: digit}}",
        "config.yaml: recipes.plain.dataset: 'digit' is unknown; datasets: digits, small; ",
        "'digits'",
    ),
    (
        "curves: {segment: {end: plin/2}}",
        "config.yaml: curves.segment.end: 'plin' is unknown; recipes: other_data, plain, wide; ",
        "'plain'",
    ),
    (
        "planes: {of_bezier: {third: beziers}}",
        "config.yaml: planes.of_bezier.third: 'beziers' is unknown; curves: bezier, polychain, ",
        "'bezier'",
    ),
    (
        "ensembles: {more: {method: curve_points, curve: polichain}}",
        "config.yaml: ensembles.more.curve: 'polichain' is unknown; curves: ",
        "'polychain'",
    ),
    (
        "artefacts: {garipov2018_figure1: {bezier: of_beziers}}",
        "config.yaml: artefacts.garipov2018_figure1.bezier: 'of_beziers' is unknown; planes: ",
        "'of_bezier'",
    ),
    (
        "artefacts: {garipov2018_figure2: {curve_points: point}}",
        "config.yaml: artefacts.garipov2018_figure2.curve_points: 'point' is unknown; ensembles: ",
        "'points'",
    ),
    (
        "artefacts: {garipov2018_table2: {rows: {plain: {curves: [segment, beziers]}}}}",
        "config.yaml: artefacts.garipov2018_table2.rows.plain.curves: 'beziers' is unknown; ",
        "'bezier'",
    ),
    (
        "curves: {mine: {extends: polichain}}",
        "config.yaml: curves.mine.extends: 'polichain' is unknown; curves: ",
        "'polychain'",
    ),
    (
        "select: [garipov2018_figure5]",
        "config.yaml: select: 'garipov2018_figure5' is no artefact of this scale; "
        "allowed: garipov2018, garipov2018_table2, garipov2018_table2_plain, ",
        None,
    ),
    ("select: [garipov2081]", "config.yaml: select: 'garipov2081' is no artefact", "'garipov2018'"),
    ("scale: papr", "config.yaml: scale: found 'papr'; it must be one of demo, paper; ", "'paper'"),
    ("scale: [demo]", "config.yaml: scale: found ['demo']; it must be one of demo, paper", ""),
    ("scale: 0", "config.yaml: scale: found 0; it must be one of demo, paper", ""),
    # values
    (
        "recipes: {plain: {training: {learning_rate: 5e-2}}}",
        "config.yaml: recipes.plain.training.learning_rate: found '5e-2'; it must be a number, "
        "without quotes and with a point: 0.05",
        None,
    ),
    (
        "recipes: {plain: {training: {schedule: {milestones: [5, '7']}}}}",
        "config.yaml: recipes.plain.training.schedule.milestones[1]: found '7'; it must be an "
        "integer, without quotes: 7",
        None,
    ),
    (
        "recipes: {plain: {training: {epochs: -3}}}",
        "config.yaml: recipes.plain.training.epochs: found -3; it must be greater than 0",
        None,
    ),
    ("curves: {random: {points: 1}}", "config.yaml: curves.random.points: found 1; it must", None),
    ("curves: {bezier: {bends: 0}}", "config.yaml: curves.bezier.bends: found 0; it must be", None),
    ("download: 'no'", "config.yaml: download: found 'no'; it must be true or false", None),
    ("threads: 1.0", "config.yaml: threads: found 1.0; it must be an integer", None),
    ("container: ''", "config.yaml: container: is empty; give a text", None),
    ("resources: {start_mb: -1}", "config.yaml: resources.start_mb: found -1; it must be", None),
    ("resources: {most_minutes: 0}", "config.yaml: resources.most_minutes: found 0; it must", None),
    ("resources: {safety: 2}", "config.yaml: resources.safety: unknown key", "'safety_factor'"),
    ("jobs_per_gpu: 0", "config.yaml: jobs_per_gpu: found 0; it must be greater than 0", None),
    ("device: Cuda", "config.yaml: device: found 'Cuda'; it must be one of auto, cp", "'cuda'"),
    ("results: ''", "config.yaml: results: is empty; give a text", None),
    (
        "select: garipov2018",
        "config.yaml: select: found 'garipov2018'; it must be a list of texts; write [garipov2018]",
        None,
    ),
    (
        "recipes: {mine: {extends: plain, network: vgg16}}",
        "config.yaml: recipes.mine.network: found 'vgg16'; it must be a block (key: value) with "
        "the keys name and its options; write {name: vgg16}",
        None,
    ),
    ("curves: {mine: 3}", "config.yaml: curves.mine: found 3; it must be a block (key: ", None),
    ("curves: {mine: }", "config.yaml: curves.mine: found nothing; it must be a block", None),
    ("planes: [of_bezier]", "config.yaml: planes: found ['of_bezier']; it must be named", None),
    ("artefacts: all", "config.yaml: artefacts: found 'all'; it must be named blocks", None),
    (
        "recipes: {mine: {extends: [plain]}}",
        "config.yaml: recipes.mine.extends: found ['plain']; it must be the name of one record",
        None,
    ),
    # trainings and schedules
    (
        "recipes: {plain: {training: {schedule: {name: cosine_restarts}}}}",
        "config.yaml: recipes.plain.training.schedule.period: is missing; give an integer (epochs "
        "of the first period)",
        None,
    ),
    (
        "recipes: {plain: {training: {schedule: {name: cosin}}}}",
        "config.yaml: recipes.plain.training.schedule.name: found 'cosin'; it must be one of ",
        "'cosine'",
    ),
    (
        "recipes: {mine: {extends: plain, training: {epochs: 8}}}",
        "config.yaml: recipes.mine.training: snapshots [10] lie beyond the 8 epochs of training",
        None,
    ),
    (
        "recipes: {plain: {training: {snapshots: [5, 5]}}}",
        "config.yaml: recipes.plain.training: snapshots [5, 5] name an epoch twice",
        None,
    ),
    (
        "curves: {random: {bends: 1}}",
        "config.yaml: curves.random: a random_segment has nothing to train: take bends out",
        None,
    ),
    (
        "curves: {mine: {extends: segment, training: {epochs: 3}}}",
        "config.yaml: curves.mine: a segment has nothing to train: take training out",
        None,
    ),
    (
        "curves: {mine: {extends: segment, kind: polychain}}",
        "config.yaml: curves.mine: a polychain is trained: give its training",
        None,
    ),
    (
        "curves: {mine: {extends: bezier, start: plian/1}}",
        "config.yaml: curves.mine.start: 'plian' is unknown; recipes: ",
        "'plain'",
    ),
    # references
    (
        "curves: {random: {end: plain}}",
        "config.yaml: curves.random.end: 'plain' is no network; write recipe/seed or, for a "
        "snapshot, recipe/seed@epoch",
        None,
    ),
    ("curves: {random: {end: plain/x}}", "config.yaml: curves.random.end: 'plain/x' is no", None),
    ("curves: {random: {end: plain/02}}", "config.yaml: curves.random.end: 'plain/02' is no", None),
    ("curves: {random: {end: 2}}", "config.yaml: curves.random.end: found 2; it must be a t", None),
    (
        "curves: {random: {end: plain/2@7}}",
        "config.yaml: curves.random.end: recipe 'plain' keeps no snapshot of epoch 7; its "
        "training.snapshots and checkpoints: 5, 10",
        None,
    ),
    (
        "curves: {random: {end: plain/2@20}}",
        "config.yaml: curves.random.end: recipe 'plain' keeps no snapshot of epoch 20; its "
        "training.snapshots and checkpoints: 5, 10; write plain/2 for the last epoch",
        None,
    ),
    (
        "curves: {random: {end: plain/1}}",
        "config.yaml: curves.random: start and end are the same network, plain/1: give two "
        "different seeds, recipes, epochs or files",
        None,
    ),
    (
        "curves: {random: {end: wide/1}}",
        "config.yaml: curves.random: connects different networks: fully_connected(hidden=[4, 4]) "
        "and fully_connected(hidden=[8, 8]); all must be equal",
        None,
    ),
    (
        "curves: {mine: {extends: segment, end: other_data/1}}",
        "config.yaml: curves.mine: connects different data sets: digits and small; all must be",
        None,
    ),
    (
        "planes: {mine: {extends: independent, third: plain/2}}",
        "config.yaml: planes.mine: start, end and third must be three different points",
        None,
    ),
    (
        "planes: {mine: {extends: independent, third: wide/2}}",
        "config.yaml: planes.mine: connects different networks: ",
        None,
    ),
    (
        "planes: {mine: {extends: independent, third: segment}}",
        "config.yaml: planes.mine.third: curve 'segment' is a segment and has no bend; name a ",
        None,
    ),
    (
        "planes: {mine: {extends: independent, start: wide/1, end: wide/2, third: bezier}}",
        "config.yaml: planes.mine: connects different networks: ",
        None,
    ),
    # extends
    (
        "curves: {a: {extends: b}, b: {extends: c}, c: {extends: a}}",
        "config.yaml: curves.c.extends: a extends b extends c extends a: a record cannot extend",
        None,
    ),
    (
        "curves: {a: {extends: a}}",
        "config.yaml: curves.a.extends: a extends a: a record cannot extend itself",
        None,
    ),
    # names
    (
        "curves: {My-Curve: {extends: segment}}",
        "config.yaml: curves.My-Curve: is no name: use lower-case letters, digits and underscores",
        None,
    ),
    ("curves: {2: {extends: segment}}", "config.yaml: curves[2]: is no name: use lower-case", None),
    ("curves: {'a/b': {extends: segment}}", "config.yaml: curves.a/b: is no name: use lower", None),
    # artefacts
    (
        "artefacts: {garipov2018_table2: {rows: {plain: {curves: [bezier, polychain]}}}}",
        "config.yaml: artefacts.garipov2018_table2.rows.plain: names 0 segments; it must be "
        "exactly one, as its ends are the single networks of the row",
        None,
    ),
    (
        """
        curves: {mine: {extends: segment, end: plain/3}}
        artefacts: {garipov2018_table2: {rows: {plain: {curves: [segment, mine]}}}}
        """,
        "config.yaml: artefacts.garipov2018_table2.rows.plain: names 2 segments; it must be ",
        None,
    ),
    (
        "artefacts: {garipov2018_table2: {rows: {plain: {curves: [segment, bezier, bezier]}}}}",
        "config.yaml: artefacts.garipov2018_table2.rows.plain.curves: names bezier twice; each may",
        None,
    ),
    (
        "artefacts: {garipov2018_table2: {rows: {My-Row: {curves: [segment]}}}}",
        "config.yaml: artefacts.garipov2018_table2.rows.My-Row: is no name: use lower-case",
        None,
    ),
    (
        """
        curves: {of_wide: {extends: bezier, start: wide/1, end: wide/2}}
        artefacts: {garipov2018_table2: {rows: {plain: {curves: [segment, of_wide]}}}}
        """,
        "config.yaml: artefacts.garipov2018_table2.rows.plain: shows different networks: ",
        None,
    ),
    (
        "artefacts: {garipov2018_curve_ensemble: {networks: [plain/1, plain/2, plain/1]}}",
        "config.yaml: artefacts.garipov2018_curve_ensemble.networks: names plain/1 twice; each ",
        None,
    ),
    (
        "artefacts: {garipov2018_curve_ensemble: {networks: [plain/1, plain/2, plain/3@5]}}",
        "config.yaml: artefacts.garipov2018_curve_ensemble.networks: plain/3@5 is a snapshot; only",
        None,
    ),
    (
        "artefacts: {garipov2018_curve_ensemble: {networks: [plain/3, plain/1, plain/2]}}",
        "config.yaml: artefacts.garipov2018_curve_ensemble.networks: begins with plain/3 and "
        "plain/1; the first two must be the ends of the ensemble's curve, plain/1 and plain/2",
        None,
    ),
    (
        "artefacts: {garipov2018_trivial_path: {curves: []}}",
        "config.yaml: artefacts.garipov2018_trivial_path.curves: is empty; give a list of texts",
        None,
    ),
    (
        "artefacts: {garipov2018_trivial_path: {curves: [segment]}}",
        "config.yaml: artefacts.garipov2018_trivial_path.curves: curve 'segment' is a segment; it "
        "must be a trivial_path",
        None,
    ),
    (
        "artefacts: {garipov2018_figure2: {segment: bezier}}",
        "config.yaml: artefacts.garipov2018_figure2.segment: curve 'bezier' is a bezier; it must "
        "be a segment",
        None,
    ),
    (
        """
        curves: {mine: {extends: bezier, end: plain/3}}
        artefacts: {garipov2018_figure2: {bezier: mine}}
        """,
        "config.yaml: artefacts.garipov2018_figure2: shows curves between different networks: "
        "plain/1 and plain/2; plain/1 and plain/3; all must be equal",
        None,
    ),
    (
        """
        ensembles: {of_bezier: {method: curve_points, curve: bezier}}
        artefacts: {garipov2018_figure2: {curve_points: of_bezier}}
        """,
        "config.yaml: artefacts.garipov2018_figure2.curve_points: ensemble 'of_bezier' has points "
        "of 'bezier'; they must be those of the polychain, 'polychain'",
        None,
    ),
    (
        "curves: {random: {predictions: false}}",
        "config/demo/curves.yaml: artefacts.garipov2018_figure4: needs the predictions: true of "
        "curve 'random'",
        None,
    ),
    (
        "artefacts: {garipov2018_figure3: {option: hiden}}",
        "config.yaml: artefacts.garipov2018_figure3.option: network 'fully_connected' of curve "
        "'bezier' has no option 'hiden'; options: hidden; did you mean 'hidden'?",
        None,
    ),
    (
        "artefacts: {garipov2018_figure1: {bezier: of_polychain}}",
        "config.yaml: artefacts.garipov2018_figure1.bezier: curve 'polychain' is a polychain; it "
        "must be a bezier",
        None,
    ),
    (
        "artefacts: {garipov2018_figure1: {bezier: independent}}",
        "config.yaml: artefacts.garipov2018_figure1.bezier: the third point of plane 'independent' "
        "must be a bezier",
        None,
    ),
    (
        "artefacts: {garipov2018_figure1: {independent: of_bezier}}",
        "config.yaml: artefacts.garipov2018_figure1.independent: the third point of plane "
        "'of_bezier' must be a network",
        None,
    ),
    (
        """
        planes: {mine: {extends: independent, end: plain/4}}
        artefacts: {garipov2018_figure1: {independent: mine}}
        """,
        "config.yaml: artefacts.garipov2018_figure1: shows planes through different networks: "
        "plain/1 and plain/2; plain/1 and plain/4; all must be equal",
        None,
    ),
]


@pytest.mark.parametrize(("text", "expected", "near"), ONE_MISTAKE)
def test_one_mistake(root: Path, text: str, expected: str, near: str | None) -> None:
    told = mistakes(root, text)
    assert len(told) == 1, told
    assert told[0].startswith(expected)
    if near:
        assert f"; did you mean {near}?" in told[0]
    else:
        assert near is None or "did you mean" not in told[0]


BRANCHES = """
datasets:
  digits: {title: Digits, source: digits}
  small: {extends: digits, image_size: 16}
  text: {title: Text, source: text_files, folder: text}
recipes:
  base:
    dataset: digits
    network: {name: fully_connected, hidden: [4]}
    training: {epochs: 10, learning_rate: 0.05, checkpoints: [6, 8]}
  wide: {extends: base, network: {hidden: [8]}}
  other_data: {extends: base, dataset: small}
  cycles:
    extends: base
    training:
      schedule: {name: cosine_cycles, cycles: 3}
      snapshots: minima
      checkpoints: []
  branch:
    extends: base
    continues: base@6
    training:
      epochs: 6
      learning_rate: 0.01
      schedule: {name: cyclic, period: 4, minimum: 0.0005}
      snapshots: minima
      checkpoints: []
      record_test: true
  of_branch: {extends: branch, continues: branch, training: {snapshots: [0, 2, 4]}}
  lstm:
    dataset: text
    network: {name: lstm, hidden: 4}
    training: {epochs: 2, learning_rate: 1.0}
curves:
  text: {kind: segment, start: lstm/1, end: lstm/2}
  images: {kind: segment, start: base/1, end: base/2}
  bent: {extends: images, kind: polychain, training: {epochs: 2}}
ensembles:
  independent: {method: independent, recipes: [base], seeds: [3, 1], budgets: [1, 2]}
  snapshot: {extends: independent, method: snapshot, recipes: [cycles]}
  fast: {extends: independent, method: fast_geometric, recipes: [branch, of_branch]}
  average: {extends: fast, method: weight_average}
  points: {method: curve_points, curve: bent}
artefacts:
  garipov2018_table1: {rows: {digits: {ensembles: [independent, snapshot, fast, average]}}}
  garipov2018_table3: {rows: {text: {curves: [text]}}}
  garipov2018_imagenet: {fast_geometric: fast, weight_average: average}
  garipov2018_figure5: {history: branch/1}
  garipov2018_figure6: {fast_geometric: fast, snapshot: snapshot, budget_epochs: 20}
"""


@pytest.fixture
def branches(tmp_path: Path) -> Path:
    folder = tmp_path / "branches" / "config" / "demo"
    folder.mkdir(parents=True)
    (folder / "branches.yaml").write_text(BRANCHES)
    return tmp_path / "branches"


def test_members_of_ensembles(branches: Path) -> None:
    config = load_config({}, branches)
    members = {
        name: [str(member) for member in config.members(name)]
        for name in ("independent", "snapshot", "fast", "average")
    }
    assert members["independent"] == ["base/3", "base/1"]
    assert members["snapshot"] == [
        f"cycles/{seed}@{epoch}" for seed in (3, 1) for epoch in (3, 6, 10)
    ]
    assert members["fast"] == [
        f"{member}"
        for seed in (3, 1)
        for member in (
            *(f"branch/{seed}@{epoch}" for epoch in (2, 6)),
            *(f"of_branch/{seed}@{epoch}" for epoch in (0, 2, 4)),
        )
    ]
    assert members["average"] == members["fast"]
    assert config.recipe_of_ensemble("fast") is config.recipes["branch"]
    assert config.recipe_of_ensemble("points") is config.recipes["base"]


def test_epochs_before_a_branch(branches: Path) -> None:
    config = load_config({}, branches)
    before = {name: config.epochs_before(name) for name in ("base", "branch", "of_branch")}
    # Of the base's ten epochs six; the branch is gone on with from its end.
    assert before == {"base": 0, "branch": 6, "of_branch": 12}


def test_parts_of_artefacts_of_ensembles(branches: Path) -> None:
    artefacts = load_config({}, branches).artefacts
    assert {
        name: list(artefact_parts(getattr(artefacts, name)))
        for name in (
            "garipov2018_table1",
            "garipov2018_imagenet",
            "garipov2018_figure5",
            "garipov2018_figure6",
        )
    } == {
        "garipov2018_table1": [
            ("ensembles", "rows", name) for name in ("independent", "snapshot", "fast", "average")
        ],
        "garipov2018_imagenet": [
            ("ensembles", "fast_geometric", "fast"),
            ("ensembles", "weight_average", "average"),
        ],
        "garipov2018_figure5": [("histories", "history", "branch/1")],
        "garipov2018_figure6": [
            ("ensembles", "fast_geometric", "fast"),
            ("ensembles", "snapshot", "snapshot"),
        ],
    }


def test_a_curve_does_not_keep_or_record_what_its_endpoints_do(branches: Path) -> None:
    config = load_config(
        user("curves: {mine: {kind: bezier, start: branch/1, end: branch/2@6, training: {}}}"),
        branches,
    )
    training = config.curves["mine"].training
    assert training is not None
    assert (training.snapshots, training.checkpoints, training.record_test) == ([], [], False)
    assert training.learning_rate == 0.01


BRANCHING_MISTAKES = [
    # cycles
    (
        "recipes: {branch: {training: {schedule: {period: 3}}}}",
        "recipes.branch.training.schedule: period is 3; it must be even, so that the minimum of a "
        "cycle falls on the end of an epoch, such as 4",
    ),
    (
        "recipes: {branch: {training: {epochs: 7}}}",
        "recipes.branch.training: cycles of 4 epochs do not fit into 7 epochs: the epochs must be "
        "a multiple of half a cycle, such as 6 or 8",
    ),
    (
        "recipes: {cycles: {training: {schedule: {cycles: 11}}}}",
        "recipes.cycles.training: 11 cycles do not fit into 10 epochs",
    ),
    (
        "recipes: {base: {training: {snapshots: minima}}}",
        "recipes.base.training: schedule 'piecewise_linear' has no minima; list the epochs, or "
        "choose cosine, cosine_cycles, cosine_restarts or cyclic",
    ),
    # what a recipe continues
    (
        "recipes: {branch: {continues: base@11}}",
        "recipes.branch.continues: epoch 11 lies beyond the 10 epochs of recipe 'base'",
    ),
    (
        "recipes: {branch: {continues: base@7}}",
        "recipes.branch.continues: recipe 'base' keeps no checkpoint of epoch 7; its "
        "training.checkpoints: 6, 8; add 7 there",
    ),
    (
        "recipes: {base: {training: {checkpoints: [6, 8, 12]}}}",
        "recipes.base.training: checkpoints [12] lie beyond the 10 epochs of training",
    ),
    (
        "recipes: {wide: {continues: wide}}",
        "recipes.wide.continues: wide continues wide: one of them must begin by itself",
    ),
    (
        "recipes: {branch: {continues: bass@6}}",
        "recipes.branch.continues: 'bass' is unknown; recipes: base, branch, ",
    ),
    (
        "recipes: {branch: {continues: base/1@6}}",
        "recipes.branch: continues: 'base/1@6' is no recipe; write recipe or recipe@epoch, without "
        "a seed: it is that of the network itself",
    ),
    (
        "recipes: {mine: {extends: branch, continues: wide@6}}",
        "recipes.mine.continues: continues different networks: fully_connected(hidden=[4]) and "
        "fully_connected(hidden=[8]); all must be equal",
    ),
    (
        "recipes: {mine: {extends: branch, continues: other_data@6}}",
        "recipes.mine.continues: continues different data sets: digits and small; all must be",
    ),
    (
        "recipes: {mine: {extends: branch, training: {optimiser: {momentum: 0.0}}}}",
        "recipes.mine.continues: a checkpoint's optimiser goes on, and that of recipe 'base' is "
        "another one (sgd, momentum 0.9); for its weights alone write base, without an epoch",
    ),
    # members
    (
        "ensembles: {mine: {extends: independent, recipes: [base, other_data]}}",
        "ensembles.mine: mixes different data sets: digits and small; all must be equal",
    ),
    (
        "ensembles: {mine: {extends: independent, recipes: [base, wide]}}",
        "ensembles.mine: mixes different networks: fully_connected(hidden=[4]) and fully_conn",
    ),
    (
        "ensembles: {mine: {extends: independent, recipes: [bass]}}",
        "ensembles.mine.recipes: 'bass' is unknown; recipes: base, branch, ",
    ),
    (
        "ensembles: {mine: {extends: fast, recipes: [base]}}",
        "ensembles.mine.recipes: recipe 'base' keeps no snapshots, which are the members of the "
        "method fast_geometric; set its training.snapshots, such as to minima",
    ),
    (
        "ensembles: {mine: {extends: snapshot, recipes: [branch]}}",
        "ensembles.mine.recipes: the schedule of recipe 'branch' is cyclic; for the method "
        "snapshot it must be cosine_cycles or cosine_restarts",
    ),
    (
        "ensembles: {mine: {extends: independent, budgets: [1, 3, 4]}}",
        "ensembles.mine: budgets [3, 4] need as many seeds; there are 2: [3, 1]",
    ),
    (
        "ensembles: {mine: {extends: independent, seeds: [1, 2, 1]}}",
        "ensembles.mine: seeds [1, 2, 1] names one twice; each may come once",
    ),
    (
        "ensembles: {mine: {extends: independent, method: independant}}",
        "ensembles.mine.method: found 'independant'; it must be one of ",
    ),
    # texts
    (
        "recipes: {lstm: {training: {augmentation: {transforms: [flip]}}}}",
        "recipes.lstm.training.augmentation: data set 'text' is a text, which is not augmented: "
        "leave the transforms out",
    ),
    (
        "curves: {mine: {extends: text, predictions: true}}",
        "curves.mine.predictions: the predictions of a language model, a probability of each word "
        "at each place, are not kept: they would take gigabytes a network",
    ),
    (
        "datasets: {mine: {title: Mine, source: text_files}}",
        "datasets.mine: source text_files needs `folder`, the folder below the data root that",
    ),
    (
        "datasets: {mine: {title: Mine, source: image_files}}",
        "datasets.mine: source image_files needs `folder`, the folder below the data root that",
    ),
    # artefacts
    (
        "artefacts: {garipov2018_table3: {rows: {text: {curves: [images]}}}}",
        "artefacts.garipov2018_table3.rows.text: curve 'images' is not of a language model: its "
        "data are images",
    ),
    (
        "artefacts: {garipov2018_figure5: {history: cycles/1}}",
        "artefacts.garipov2018_figure5.history: the history of cycles/1 has no test errors: set "
        "record_test: true there",
    ),
    (
        "recipes: {mine: {extends: branch, training: {snapshots: []}}}\n"
        "artefacts: {garipov2018_figure5: {history: mine/1}}",
        "artefacts.garipov2018_figure5.history: mine/1 keeps no snapshots, which the figure marks",
    ),
    (
        "artefacts: {garipov2018_figure5: {history: branch/1@2}}",
        "artefacts.garipov2018_figure5.history: branch/1@2 is a snapshot; only networks at the end",
    ),
    (
        "ensembles: {snapshot: {seeds: [1, 2, 3]}}\nartefacts: {garipov2018_figure6: {budgets: 3}}",
        "artefacts.garipov2018_figure6.budgets: 3 budgets need as many seeds of ensemble 'fast', "
        "which has 2",
    ),
    (
        "artefacts: {garipov2018_figure6: {fast_geometric: average}}",
        "artefacts.garipov2018_figure6.fast_geometric: the method of ensemble 'average' is "
        "weight_average; it must be fast_geometric",
    ),
    (
        "artefacts: {garipov2018_figure6: {snapshot: points}}",
        "artefacts.garipov2018_figure6.snapshot: the method of ensemble 'points' is curve_points; "
        "it must be snapshot",
    ),
    (
        "artefacts: {garipov2018_figure6: {fast_geometric: fest}}",
        "artefacts.garipov2018_figure6.fast_geometric: 'fest' is unknown; ensembles: ",
    ),
    (
        "artefacts: {garipov2018_table1: {rows: {digits: {ensembles: [points]}}}}",
        "artefacts.garipov2018_table1.rows.digits.ensembles: the method of ensemble 'points' is "
        "curve_points; it must be independent or snapshot or fast_geometric or weight_average",
    ),
    (
        "ensembles: {mine: {extends: independent}}\n"
        "artefacts: {garipov2018_table1: {rows: {digits: {ensembles: [independent, mine]}}}}",
        "artefacts.garipov2018_table1.rows.digits: names two ensembles of the method independent; "
        "one a row is shown",
    ),
    (
        "ensembles: {mine: {extends: independent, recipes: [wide]}}\n"
        "artefacts: {garipov2018_table1: {rows: {digits: {ensembles: [mine, fast]}}}}",
        "artefacts.garipov2018_table1.rows.digits: shows different networks: ",
    ),
    (
        "artefacts: {garipov2018_curve_ensemble: {curve_points: fast, networks: [base/1, base/2]}}",
        "artefacts.garipov2018_curve_ensemble.curve_points: the method of ensemble 'fast' is "
        "fast_geometric; it must be curve_points",
    ),
]


@pytest.mark.parametrize(("text", "expected"), BRANCHING_MISTAKES)
def test_one_mistake_in_branches(branches: Path, text: str, expected: str) -> None:
    told = mistakes(branches, text)
    assert len(told) == 1, told
    assert told[0].startswith(f"config.yaml: {expected}")


def test_recipes_that_continue_each_other(branches: Path) -> None:
    assert mistakes(branches, "recipes: {branch: {continues: of_branch}}") == [
        "config.yaml: recipes.branch.continues: branch continues of_branch continues branch: "
        "one of them must begin by itself, take its continues out",
        "config/demo/branches.yaml: recipes.of_branch.continues: of_branch continues branch "
        "continues of_branch: one of them must begin by itself, take its continues out",
    ]


def test_ensembles_of_the_wrong_kind_in_figures(branches: Path) -> None:
    assert mistakes(
        branches,
        """
        artefacts:
          garipov2018_figure2: {segment: images, bezier: bent, polychain: bent, curve_points: fast}
          garipov2018_figure6: {fast_geometric: points, snapshot: average, budgets: 3}
        """,
    ) == [
        "config.yaml: artefacts.garipov2018_figure2.bezier: curve 'bent' is a polychain; it must "
        "be a bezier",
        "config.yaml: artefacts.garipov2018_figure2.curve_points: the method of ensemble 'fast' is "
        "fast_geometric; it must be curve_points",
        "config.yaml: artefacts.garipov2018_figure6.fast_geometric: the method of ensemble "
        "'points' is curve_points; it must be fast_geometric",
        "config.yaml: artefacts.garipov2018_figure6.snapshot: the method of ensemble 'average' is "
        "weight_average; it must be snapshot",
        "config.yaml: artefacts.garipov2018_figure6.budgets: 3 budgets need as many seeds of "
        "ensemble 'average', which has 2",
    ]


def test_all_mistakes_of_branches_are_told_at_once(branches: Path) -> None:
    told = mistakes(
        branches,
        """
        recipes:
          cycles: {training: {schedule: {cycles: 11}}}
          branch: {training: {schedule: {period: 3}}}
          late: {extends: base, continues: base@11}
          lost: {extends: base, continues: base@7}
          lstm: {training: {augmentation: {transforms: [flip]}}}
        curves: {text: {predictions: true}}
        ensembles:
          mixed: {extends: independent, recipes: [base, wide, other_data]}
          large: {extends: independent, budgets: [3]}
        artefacts:
          garipov2018_table3: {rows: {text: {curves: [images]}}}
          garipov2018_figure5: {history: base/1}
        """,
    )
    assert [mistake.split(": ")[1] for mistake in told] == [
        "recipes.cycles.training",
        "recipes.branch.training.schedule",
        "ensembles.large",
        "recipes.late.continues",
        "recipes.lost.continues",
        "recipes.lstm.training.augmentation",
        "curves.text.predictions",
        "ensembles.mixed",
        "ensembles.mixed",
        "artefacts.garipov2018_table3.rows.text",
        "artefacts.garipov2018_figure5.history",
        "artefacts.garipov2018_figure5.history",
    ]
    assert all(mistake.startswith("config.yaml: ") for mistake in told)


CONNECTIONS = """
datasets:
  digits: {title: Digits, source: digits}
  small: {extends: digits, image_size: 16}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [4]}
    training: {epochs: 10, learning_rate: 0.05}
  wide: {extends: plain, network: {hidden: [8]}, training: {learning_rate: 0.5}}
  other_data: {extends: plain, dataset: small}
  sgdr:
    extends: plain
    training:
      epochs: 7
      schedule: {name: cosine_restarts, period: 1, multiplier: 2}
      snapshots: all
      record_test: true
  step: {extends: plain, training: {snapshots: [3, 5], record_test: true}}
curves:
  segment: {kind: segment, start: plain/1, end: plain/2}
  chain: {extends: segment, kind: polychain, training: {epochs: 4, snapshots: [2, 4]}}
  sgdr_segment: {kind: segment, start: sgdr/1@3, end: sgdr/1@7}
  sgdr_chain: {extends: sgdr_segment, kind: polychain, training: {epochs: 4}}
  elsewhere_segment:
    kind: segment
    recipe: wide
    start: weights/mine.safetensors
    end: weights/yours.safetensors
  elsewhere_chain: {extends: elsewhere_segment, kind: polychain, training: {epochs: 4}}
planes:
  sgdr: {start: sgdr/1@3, end: sgdr/1@7, third: sgdr_chain, iterates: sgdr/1}
  elsewhere:
    recipe: wide
    start: weights/mine.safetensors
    end: weights/yours.safetensors
    third: elsewhere_chain
geometries:
  three: {points: {G: plain/1, A: plain/2, GA: chain}}
  elsewhere: {points: {ours: elsewhere_chain, theirs: wide/1}}
artefacts:
  gotmare2018_modes:
    modes: {G: plain/1, A: plain/2}
    differences: {A: another seed}
    rows: {ga: {segment: segment, polychain: chain}}
  gotmare2018_figure1: {connections: {GA: chain}}
  gotmare2018_figure2:
    sgdr_history: sgdr/1
    sgd_history: step/1
    sgdr: &pairs [{start: w3, end: w7, segment: sgdr_segment, polychain: sgdr_chain}]
    sgd: *pairs
  gotmare2018_figure3: {plane: sgdr}
  gotmare2018_figure4: {geometry: three, perplexity: 2.5}
  gotmare2018_figure7: {sgdr: *pairs, sgd: *pairs}
"""


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a config, and a working directory with two files of weights."""
    folder = tmp_path / "connections"
    (folder / "config" / "demo").mkdir(parents=True)
    (folder / "config" / "demo" / "connections.yaml").write_text(CONNECTIONS)
    (tmp_path / "weights").mkdir()
    for name in ("mine", "yours"):
        (tmp_path / "weights" / f"{name}.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    return folder


def test_what_files_of_weights_are_of(connections: Path) -> None:
    config = load_config({}, connections)
    wide = config.recipes["wide"]
    assert config.recipe_of_curve("elsewhere_chain") is wide
    assert config.recipe_of_plane("elsewhere") is wide
    assert config.recipe_of_geometry("elsewhere") is wide
    assert config.recipe_of_geometry("three") is config.recipes["plain"]
    training = config.curves["elsewhere_chain"].training
    assert training is not None
    assert (training.epochs, training.learning_rate) == (4, 0.5)


def test_iterates_of_a_plane_are_the_snapshots_of_a_training(connections: Path) -> None:
    config = load_config({}, connections)
    assert [str(each) for each in config.iterates("sgdr")] == [f"sgdr/1@{n}" for n in range(1, 8)]
    assert config.iterates("elsewhere") == []


PAIR = [("curves", "segment", "sgdr_segment"), ("curves", "polychain", "sgdr_chain")]


@pytest.mark.parametrize(
    ("artefact", "parts"),
    [
        (
            "modes",
            [
                *(("networks", "modes", f"plain/{seed}") for seed in (1, 2)),
                *(("curves", "rows", name) for name in ("segment", "chain")),
                ("snapshots", "rows", "chain"),
            ],
        ),
        ("figure1", [("snapshots", "connections", "chain")]),
        (
            "figure2",
            [
                *(2 * PAIR),
                ("histories", "sgdr_history", "sgdr/1"),
                ("histories", "sgd_history", "step/1"),
            ],
        ),
        ("figure3", [("planes", "plane", "sgdr")]),
        ("figure4", [("geometries", "geometry", "three")]),
        ("figure7", 2 * PAIR),
    ],
)
def test_parts_of_artefacts_of_connections(connections: Path, artefact: str, parts: Any) -> None:
    settings = getattr(load_config({}, connections).artefacts, f"gotmare2018_{artefact}")
    assert list(artefact_parts(settings)) == parts


CONNECTION_MISTAKES = [
    # networks that differ
    (
        "curves: {mine: {extends: segment, end: wide/1}}",
        "curves.mine: connects different networks: fully_connected(hidden=[4]) and "
        "fully_connected(hidden=[8]); all must be equal",
    ),
    (
        "curves: {mine: {extends: elsewhere_segment, end: plain/1}}",
        "curves.mine: connects different networks: fully_connected(hidden=[4]) and fully_conn",
    ),
    (
        "curves: {mine: {extends: elsewhere_segment, recipe: plain, end: other_data/1}}",
        "curves.mine: connects different data sets: digits and small; all must be equal",
    ),
    (
        "planes: {mine: {extends: elsewhere, recipe: plain}}",
        "planes.mine: connects different networks: fully_connected(hidden=[4]) and fully_conn",
    ),
    (
        "planes: {mine: {extends: elsewhere, iterates: sgdr/1}}",
        "planes.mine: projects different networks: fully_connected(hidden=[4]) and fully_conn",
    ),
    (
        "geometries: {mine: {points: {G: plain/1, A: wide/1}}}",
        "geometries.mine: measures different networks: fully_connected(hidden=[4]) and fully_con",
    ),
    # snapshots that are not kept
    (
        "curves: {mine: {kind: segment, start: sgdr/1@3, end: sgdr/1@8}}",
        "curves.mine.end: recipe 'sgdr' keeps no snapshot of epoch 8; its training.snapshots and "
        "checkpoints: 1, 2, 3, 4, 5, 6, 7",
    ),
    (
        "curves: {mine: {kind: segment, start: step/1@4, end: step/1@5}}",
        "curves.mine.start: recipe 'step' keeps no snapshot of epoch 4; its training.snapshots "
        "and checkpoints: 3, 5",
    ),
    (
        "planes: {mine: {extends: sgdr, iterates: plain/1}}",
        "planes.mine.iterates: recipe 'plain' keeps no snapshots; set its training.snapshots, "
        "such as to all",
    ),
    (
        "planes: {mine: {extends: sgdr, iterates: sgdr/1@3}}",
        "planes.mine.iterates: sgdr/1@3 is one snapshot; name the training, recipe/seed",
    ),
    (
        "artefacts: {gotmare2018_figure1: {connections: {GA: sgdr_chain}}}",
        "artefacts.gotmare2018_figure1.connections.GA: curve 'sgdr_chain' keeps no snapshots; set "
        "its training.snapshots, such as to [5, 10]",
    ),
    (
        "artefacts: {gotmare2018_figure1: {connections: {GA: segment}}}",
        "artefacts.gotmare2018_figure1.connections.GA: curve 'segment' keeps no snapshots",
    ),
    (
        "artefacts: {gotmare2018_modes: {rows: "
        "{mine: {segment: elsewhere_segment, polychain: elsewhere_chain}}}}",
        "artefacts.gotmare2018_modes.rows.mine.polychain: curve 'elsewhere_chain' keeps no "
        "snapshots",
    ),
    # restarts
    (
        "recipes: {mine: {extends: sgdr, training: {schedule: {period: 8}}}}",
        "recipes.mine.training: the first period of 8 epochs is longer than the training of 7 "
        "epochs: nothing restarts; shorten it, or choose schedule cosine",
    ),
    # files of weights
    (
        "curves: {mine: {extends: elsewhere_segment, end: weights/theirs.safetensors}}",
        "curves.mine.end: there is no file weights/theirs.safetensors; a relative path starts "
        "from the working directory, ",
    ),
    (
        "planes: {mine: {extends: elsewhere, start: weights/theirs.safetensors}}",
        "planes.mine.start: there is no file weights/theirs.safetensors; a relative path starts ",
    ),
    (
        "curves: {mine: {kind: segment, start: weights/mine.safetensors, end: plain/2}}",
        "curves.mine: an end is a file of weights: say with recipe which network and data set it "
        "is of",
    ),
    (
        "curves: {mine: {extends: elsewhere_segment, recipe: wyde}}",
        "curves.mine.recipe: 'wyde' is unknown; recipes: other_data, plain, sgdr, step, wide; did "
        "you mean 'wide'?",
    ),
    (
        "curves: {mine: {extends: elsewhere_segment, end: weights/mine.safetensors}}",
        "curves.mine: start and end are the same network, weights/mine.safetensors: give two ",
    ),
    # geometries
    (
        "geometries: {mine: {points: {G: plain/1, A: segment}}}",
        "geometries.mine.points.A: curve 'segment' is a segment and has no bend; name a ",
    ),
    (
        "geometries: {mine: {points: {G: plain/1, A: chian}}}",
        "geometries.mine.points.A: 'chian' is unknown; curves: chain, ",
    ),
    # artefacts
    (
        "artefacts: {gotmare2018_figure4: {perplexity: 3.0}}",
        "artefacts.gotmare2018_figure4.perplexity: found 3; it must be below the number of points "
        "of geometry 'three', 3",
    ),
    (
        "artefacts: {gotmare2018_figure4: {geometry: thre}}",
        "artefacts.gotmare2018_figure4.geometry: 'thre' is unknown; geometries: elsewhere, three; "
        "did you mean 'three'?",
    ),
    (
        "planes: {mine: {extends: sgdr, third: sgdr/1@1}}\n"
        "artefacts: {gotmare2018_figure3: {plane: mine}}",
        "artefacts.gotmare2018_figure3.plane: the third point of plane 'mine' is the network "
        "sgdr/1@1; it must be a polychain, whose bend is drawn",
    ),
    (
        "artefacts: {gotmare2018_modes: {rows: {ga: {segment: sgdr_segment}}}}",
        "artefacts.gotmare2018_modes.rows.ga: shows curves between different networks: plain/1 "
        "and plain/2; sgdr/1@3 and sgdr/1@7; all must be equal",
    ),
    (
        "artefacts: {gotmare2018_modes: {rows: {GA: {segment: segment, polychain: chain}}}}",
        "artefacts.gotmare2018_modes.rows.GA: is no name: use lower-case letters, digits and ",
    ),
    (
        "artefacts: {gotmare2018_modes: {differences: {B: Adam}}}",
        "artefacts.gotmare2018_modes.differences.B: 'B' is no mode; modes: G, A",
    ),
    (
        "artefacts: {gotmare2018_figure2: {sgd_history: plain/1}}",
        "artefacts.gotmare2018_figure2.sgd_history: the history of plain/1 has no test errors: set "
        "record_test: true there",
    ),
    (
        "artefacts: {gotmare2018_figure7: {sgd: "
        "[{start: w3, end: w7, segment: sgdr_chain, polychain: sgdr_chain}]}}",
        "artefacts.gotmare2018_figure7.segment: curve 'sgdr_chain' is a polychain; it must be a "
        "segment",
    ),
]


@pytest.mark.parametrize(("text", "expected"), CONNECTION_MISTAKES)
def test_one_mistake_in_connections(connections: Path, text: str, expected: str) -> None:
    told = mistakes(connections, text)
    assert len(told) == 1, told
    assert told[0].startswith(f"config.yaml: {expected}")


SIMPLEXES = """
simplexes:
  espro: {modes: [plain], connectors: 2, training: {epochs: 3}}
  complex: {modes: [plain/1, plain/2@5], connectors: 3, training: {epochs: 3}, points: 4}
  by_text: {extends: complex, preset: as_written, training: {optimiser: {weight_decay: 0.2}}}
  elsewhere: {modes: [{file}, plain/2], recipe: plain, connectors: 1, training: {epochs: 1}}
planes:
  face: {start: "complex/1:w0", end: "complex/1:t1", third: "complex/1:t3"}
ensembles:
  espro: {method: simplex, simplex: espro, connectors: 2, seeds: [1, 2], budgets: [1, 2]}
"""


@pytest.fixture
def simplexes(root: Path) -> Path:
    (root / "mine.safetensors").touch()
    text = SIMPLEXES.replace("{file}", str(root / "mine.safetensors"))
    (root / "config" / "demo" / "simplexes.yaml").write_text(text)
    return root


def test_simplexes_are_loaded(simplexes: Path) -> None:
    config = load_config({}, simplexes)
    plain = config.recipes["plain"]
    for name in config.simplexes:
        assert config.recipe_of_simplex(name) is plain
    assert config.recipe_of_plane("face") is plain
    assert config.recipe_of_ensemble("espro") is plain
    espro, by_text = (config.simplexes[name] for name in ("espro", "by_text"))
    # Inherited but for what the endpoint keeps on its way, and where its weight decay acts.
    assert espro.training.batch_size == 32
    assert espro.training.snapshot_epochs == []
    assert espro.training.optimiser.weight_decay == 0.1
    assert espro.training.optimiser.weight_decay_on == "vertex"
    assert plain.training.optimiser.weight_decay_on == "point"
    assert by_text.training.optimiser.weight_decay == 0.2
    assert by_text.training.optimiser.weight_decay_on == "point"
    assert (by_text.reduction, espro.reduction) == ("mean", "sum")


def test_where_weight_decay_acts_can_be_said(simplexes: Path) -> None:
    change = "simplexes: {espro: {training: {optimiser: {weight_decay_on: point}}}}"
    config = load_config(user(change), simplexes)
    assert config.simplexes["espro"].training.optimiser.weight_decay_on == "point"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "simplexes: {espro: {modes: [plane]}}",
            "simplexes.espro.modes[0]: 'plane' is unknown; recipes: other_data, plain, wide; did "
            "you mean 'plain'?",
        ),
        (
            "simplexes: {complex: {modes: [plain/1, plain/2@7]}, by_text: {modes: [plain/1]}}",
            "simplexes.complex.modes[1]: recipe 'plain' keeps no snapshot of epoch 7",
        ),
        (
            "simplexes: {complex: {modes: [plain/1, gone.safetensors]}, by_text: {modes: [plain]}}",
            "simplexes.complex.modes[1]: there is no file gone.safetensors",
        ),
        (
            "simplexes: {espro: {modes: [plain, wide]}}",
            "simplexes.espro: connects different networks: fully_connected",
        ),
        (
            "simplexes: {espro: {modes: [plain, other_data]}}",
            "simplexes.espro: connects different data sets: digits and small; all must be equal",
        ),
        (
            "simplexes: {espro: {samples: 0}}",
            "simplexes.espro.samples: found 0; it must be greater than 0",
        ),
        (
            "simplexes: {espro: {complex: [[w0, t1, t2], [w0, t3]]}}",
            "simplexes.espro: complex[1]: the simplex [w0, t3] names t3, which is no vertex",
        ),
        (
            "simplexes: {espro: {complex: [[w0, t1, t2], [w0]]}}",
            "simplexes.espro: complex[1]: the simplex [w0] has 1 vertices; a simplex needs at "
            "least 2",
        ),
        (
            "simplexes: {espro: {modes: [plain/1, plain/1]}}",
            "simplexes.espro: modes: plain/1 is given twice: the volume is zero",
        ),
        (
            "simplexes: {elsewhere: {recipe: plan}}",
            "simplexes.elsewhere.recipe: 'plan' is unknown; recipes",
        ),
        (
            'planes: {face: {third: "complex/1:t4"}}',
            "planes.face.third: simplex 'complex' has no vertex t4; vertices: w0, w1, t1, t2, t3",
        ),
        (
            'planes: {face: {end: "komplex/1:t1"}}',
            "planes.face.end: 'komplex' is unknown; simplexes: by_text, complex, elsewhere, espro;"
            " did you mean 'complex'?",
        ),
        (
            'planes: {face: {start: "complex/1:x1"}}',
            "planes.face.start: 'complex/1:x1' is no vertex of a simplex; write simplex/seed:w0",
        ),
        (
            "planes: {face: {third: wide/1}}",
            "planes.face: connects different networks",
        ),
        (
            "ensembles: {espro: {simplex: esprit}}",
            "ensembles.espro.simplex: 'esprit' is unknown; simplexes",
        ),
        (
            "ensembles: {espro: {connectors: 3}}",
            "ensembles.espro.connectors: found 3; simplex 'espro' has 2 connectors",
        ),
        (
            "ensembles: {espro: {points: 26}}",
            "ensembles.espro.points: found 26; simplex 'espro' has 25 points",
        ),
        (
            "ensembles: {espro: {points: 2, connectors: 0}}",
            "ensembles.espro.points: found 2; without connectors the members are the 1 modes",
        ),
        (
            "ensembles: {espro: {budgets: [3]}}",
            "ensembles.espro: budgets [3] need as many seeds; there are 2: [1, 2]",
        ),
        (
            "simplexes: {espro: {modes: [plain, plain/2]}}",
            "ensembles.espro.seeds: with seed 2 two modes of simplex 'espro' are the same network, "
            "plain/2",
        ),
        (
            "ensembles: {espro: {simplex: complex}}",
            "ensembles.espro.simplex: the modes of simplex 'complex' are the same networks for "
            "every seed",
        ),
    ],
)
def test_one_mistake_in_simplexes(simplexes: Path, text: str, expected: str) -> None:
    told = mistakes(simplexes, text)
    assert len(told) == 1, told
    assert expected in told[0]


SHIFT = """
datasets:
  points: {title: Points, source: two_spirals}
  files: {title: Files, source: image_files, folder: files}
recipes:
  of_points: {extends: base, dataset: points}
  of_files: {extends: base, dataset: files}
ensembles:
  texts: {extends: independent, recipes: [lstm]}
  of_points: {extends: independent, recipes: [of_points]}
  of_files: {extends: independent, recipes: [of_files]}
  of_small: {extends: independent, recipes: [other_data]}
"""
SHIFT_MISTAKES = [
    (
        "{ensembles: {Ind: independent}, corruptions: [fogg]}",
        "artefacts.benton2021_c1.corruptions[0]: found 'fogg'; it must be one of ",
        "'fog'",
    ),
    (
        "{ensembles: {Ind: independent}, corruptions: [fog], severities: [1, 6]}",
        "artefacts.benton2021_c1.severities[1]: found 6; it must be at most 5",
        None,
    ),
    (
        "{ensembles: {Ind: independent}, corruptions: [fog], severities: [0]}",
        "artefacts.benton2021_c1.severities[0]: found 0; it must be at least 1",
        None,
    ),
    (
        "{ensembles: {Ind: independent}, corruptions: [fog, snow, fog]}",
        "artefacts.benton2021_c1.corruptions: names fog twice; each may come once",
        None,
    ),
    (
        "{ensembles: {Ind: independant}, corruptions: [fog]}",
        "artefacts.benton2021_c1.ensembles: 'independant' is unknown; ensembles: ",
        "'independent'",
    ),
    (
        "{ensembles: {Points: points}, corruptions: [fog]}",
        "artefacts.benton2021_c1.ensembles: the method of ensemble 'points' is curve_points; it "
        "must be independent or snapshot or ",
        None,
    ),
    (
        "{ensembles: {Ind: independent}, corruptions: [fog], budget: 3}",
        "artefacts.benton2021_c1.budget: found 3; the budgets of ensemble 'independent' are 1, 2",
        None,
    ),
    (
        "{ensembles: {Ind: of_points}, corruptions: [fog]}",
        "artefacts.benton2021_c1.ensembles.Ind: ensemble 'of_points' is of data set 'points', "
        "source two_spirals; only test sets of images in memory are corrupted: digits, mnist, "
        "cifar10, cifar100, image_folder",
        None,
    ),
    (
        "{ensembles: {Ind: of_files}, corruptions: [fog]}",
        "artefacts.benton2021_c1.ensembles.Ind: ensemble 'of_files' is of data set 'files', "
        "source image_files; only test sets of images in memory are corrupted",
        None,
    ),
    (
        "{ensembles: {Ind: independent, Small: of_small}, corruptions: [fog]}",
        "artefacts.benton2021_c1.ensembles: shows different data sets: digits and small; all must",
        None,
    ),
]


@pytest.mark.parametrize(("artefact", "expected", "near"), SHIFT_MISTAKES)
def test_one_mistake_under_shift(
    branches: Path, artefact: str, expected: str, near: str | None
) -> None:
    text = SHIFT.replace("  texts: {extends: independent, recipes: [lstm]}\n", "")
    told = mistakes(branches, f"{text}artefacts: {{benton2021_c1: {artefact}}}")
    assert len(told) == 1, told
    assert told[0].startswith(f"config.yaml: {expected}")
    if near:
        assert f"; did you mean {near}?" in told[0]


def test_texts_are_not_corrupted(branches: Path) -> None:
    artefact = "{ensembles: {Text: texts}, corruptions: [fog]}"
    told = mistakes(branches, f"{SHIFT}artefacts: {{benton2021_c1: {artefact}}}")
    assert any(each.startswith("config.yaml: ensembles.texts: the predictions of") for each in told)
    told = mistakes(branches, "datasets: {text: {corruptions: {seed: 1}}}")
    assert len(told) == 1
    assert told[0].startswith("config.yaml: datasets.text.corruptions: ")
    files = "{title: Files, source: image_files, folder: files, corruptions: {seed: 1}}"
    told = mistakes(branches, f"datasets: {{files: {files}}}")
    assert len(told) == 1
    assert told[0].startswith("config.yaml: datasets.files.corruptions: ")


def test_where_corrupted_images_come_from(branches: Path) -> None:
    told = mistakes(branches, "datasets: {digits: {corruptions: {source: publishd}}}")
    # And once more for the data set that extends it.
    assert told[0].startswith("config.yaml: datasets.digits.corruptions.source: found 'publishd'")
    assert "did you mean 'published'?" in told[0]
    told = mistakes(branches, "datasets: {digits: {corruptions: {source: published}}}")
    assert "corruptions of source digits were not published; give their folder" in told[0]
    text = "datasets: {digits: {corruptions: {source: published, folder: DIGITS-C}}}"
    assert load_config(user(text), branches).datasets["digits"].corruptions.folder == "DIGITS-C"
    told = mistakes(branches, "datasets: {digits: {corruptions: {examples: 0}}}")
    assert told[0].startswith("config.yaml: datasets.digits.corruptions.examples: found 0; it must")


def test_corruptions_under_which_ensembles_are_shown(branches: Path) -> None:
    config = load_config(
        user(
            "artefacts:\n"
            "  benton2021_figure11: {ensembles: {A: independent}, corruptions: [gaussian_noise]}\n"
            "  benton2021_c1: {ensembles: {A: independent, B: average},"
            " corruptions: [jpeg_compression, fog]}\n"
        ),
        branches,
    )
    shown = config.corruptions_of("independent")
    assert shown == ["gaussian_noise", "fog", "jpeg_compression"]
    assert config.corruptions_of("average") == ["fog", "jpeg_compression"]
    assert config.corruptions_of("fast") == []
    parts = list(artefact_parts(config.artefacts.benton2021_c1))
    assert parts == [("shifts", "ensembles", "independent"), ("shifts", "ensembles", "average")]


def test_mistake_in_a_shipped_file_is_placed_there(root: Path) -> None:
    file = root / "config" / "demo" / "recipes.yaml"
    file.write_text(RECIPES.replace("epochs: 20", "epochs: 0"))
    (mistake,) = mistakes(root, "")
    assert mistake.startswith("config/demo/recipes.yaml: recipes.plain.training.epochs: found 0")


def test_inherited_mistake_is_told_once_but_one_made_again_twice(root: Path) -> None:
    told = mistakes(
        root,
        """
        recipes:
          plain: {dataset: digit, training: {batch_size: 0, precision: low, snapshots: [a]}}
          mine: {extends: plain, training: {batch_size: 0, snapshots: [a]}}
        """,
    )
    assert [mistake.split(": ")[1] for mistake in told] == [
        "recipes.plain.training.batch_size",
        "recipes.plain.training.snapshots",
        "recipes.plain.training.precision",
        "recipes.mine.training.batch_size",
        "recipes.mine.training.snapshots",
        "recipes.plain.dataset",
    ]


def test_network_defaults_are_equal_given_or_not(root: Path) -> None:
    config = load_config(
        user(
            """
            recipes:
              a: {extends: plain, network: {name: vgg16, width: 64}}
              b: {extends: plain, network: {name: vgg16}}
            curves: {mine: {kind: segment, start: a/1, end: b/1}}
            """
        ),
        root,
    )
    assert config.curves["mine"].start == "a/1"


def test_planes_and_curves_may_share_names(root: Path) -> None:
    load_config(
        user(
            """
            planes: {segment: {extends: of_bezier}}
            artefacts: {garipov2018_figure1: {bezier: segment}}
            """
        ),
        root,
    )


def test_many_known_names_are_not_all_listed(root: Path) -> None:
    names = ", ".join(f"curve{n:02}: {{extends: segment}}" for n in range(40))
    (mistake,) = mistakes(
        root, f"curves: {{{names}}}\nensembles: {{mine: {{method: curve_points, curve: curve41}}}}"
    )
    assert mistake.count("curve") < LISTED + 8
    assert f" and {45 - LISTED} more; did you mean 'curve" in mistake


def test_select_without_artefacts(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "select: [garipov2018]") == [
        "config.yaml: select: 'garipov2018' is no artefact of this scale; allowed: none"
    ]


def test_same_record_in_two_shipped_files(root: Path) -> None:
    (root / "config" / "demo" / "more.yaml").write_text("curves: {random: {points: 3}}")
    assert mistakes(root, "") == [
        "config/demo/more.yaml: curves.random: is given in config/demo/curves.yaml as well"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
        ("a:\n  b: {c: 1, d: 2, c: 3}\n", "line 2: the key 'c' is given twice"),
        ("- a: {b: 1}\n- {c: 1,\n   c: 2}\n", "line 3: the key 'c' is given twice"),
        ("a: [1, 2\nb: 3\n", "line 2: not valid YAML: while parsing a flow sequence, "),
        ("a: b: c\n", "line 1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "line 2: not valid YAML: expected a single document in the stream"),
        (
            "{[a]: 1}\n",
            "line 1: not valid YAML: while constructing a mapping, found unhashable key",
        ),
        ("a: !!python/object:os.system {}\n", "line 1: not valid YAML: could not determine"),
        ("- a\n- b\n", "found ['a', 'b']; a config file holds named blocks (key: value)"),
        ("text\n", "found 'text'; a config file holds named blocks (key: value)"),
        ("a: \x00\n", "not valid YAML: "),
    ],
)
def test_unreadable_file(root: Path, text: str, expected: str) -> None:
    path = root / "config" / "demo" / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    # What else the file defines is unknown, and no reason to say that it is.
    (mistake,) = mistakes(root, "threads: 0")
    assert mistake == f"config/demo/broken.yaml: {caught.value}"


@pytest.mark.parametrize("scale", SHIPPED)
def test_shipped_config_loads_soon_and_without_torch(scale: str) -> None:
    program = f"""
import sys, time
from pathlib import Path
from mode_connectivity.config import load_config
start = time.process_time()
config = load_config({{"scale": {scale!r}}}, Path({str(ROOT)!r}))
print(time.process_time() - start, len(config.recipes), "torch" in sys.modules)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert finished.returncode == 0, finished.stderr
    seconds, recipes, torch_imported = finished.stdout.split()
    assert torch_imported == "False"
    assert int(recipes) > 0
    assert float(seconds) < 0.5


@pytest.mark.parametrize("scale", SHIPPED)
def test_every_recipe_and_curve_survives_the_way_to_its_job(scale: str) -> None:
    config = load_config({"scale": scale}, ROOT)
    for records in (config.datasets, config.recipes, config.planes):
        for settings in records.values():
            assert type(settings)(**settings.model_dump(mode="json")) == settings
    for curve in config.curves.values():
        dumped = curve.model_dump(mode="json", exclude_unset=True)
        assert type(curve)(**dumped) == curve


def test_users_config_file_is_valid() -> None:
    shipped = read_yaml(ROOT / "config.yaml")
    assert load_config(shipped, ROOT) == load_config({}, ROOT)


def test_a_key_given_twice_in_the_users_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("threads: 1\nthreads: 2\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: line 2: the key 'threads' is given twice"):
        load_config({"threads": 2}, ROOT, [path])
