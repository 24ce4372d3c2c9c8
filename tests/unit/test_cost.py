from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mode_connectivity import layout
from mode_connectivity.config import Config, load_config, merge
from mode_connectivity.cost import (
    HISTORIES,
    WITHOUT_BATCH_NORM,
    Cost,
    Costs,
    announcement,
    dataset_sizes,
    job_cost,
    report,
    total,
)
from mode_connectivity.data import sources, text
from mode_connectivity.data.settings import DatasetSettings
from mode_connectivity.evaluation.batch_norm import batch_norms
from mode_connectivity.networks import registry

TRAINING = {"epochs": 5, "batch_size": 32, "learning_rate": 0.05}
CONFIG: dict[str, Any] = {
    "datasets": {
        "digits": {"title": "Digits", "source": "digits"},
        "large": {"title": "Large digits", "source": "digits", "image_size": 16},
        "words": {"title": "Words", "source": "ptb"},
        "own": {"title": "Own", "source": "image_folder", "folder": "own"},
    },
    "recipes": {
        "plain": {
            "dataset": "digits",
            "network": {"name": "fully_connected", "hidden": [4]},
            "training": {**TRAINING, "schedule": {"name": "constant"}, "snapshots": [2, 4]},
        },
        "recorded": {
            "dataset": "digits",
            "network": {"name": "fully_connected", "hidden": [5]},
            "training": {**TRAINING, "records_per_epoch": 7, "record_test": True},
        },
        "residual": {
            "dataset": "digits",
            "network": {"name": "preresnet", "depth": 8},
            "training": {**TRAINING, "schedule": {"name": "constant"}, "snapshots": [2, 4, 5]},
        },
        "language": {
            "dataset": "words",
            "network": {"name": "lstm"},
            "training": {**TRAINING, "batch_size": 20},
        },
        "of_own": {
            "dataset": "own",
            "network": {"name": "lenet5"},
            "training": TRAINING,
        },
    },
    "curves": {
        "segment": {"kind": "segment", "start": "plain/1", "end": "plain/2", "points": 11},
        "bezier": {
            "kind": "bezier",
            "start": "residual/1",
            "end": "residual/2",
            "points": 7,
            "training": {"epochs": 3, "snapshots": [1, 3]},
        },
        "of_words": {"kind": "segment", "start": "language/1", "end": "language/2", "points": 3},
    },
    "planes": {
        "three": {"start": "residual/1", "end": "residual/2", "third": "residual/3", "points": 4},
    },
    "simplexes": {
        "espro": {
            "modes": ["plain"],
            "connectors": 2,
            "points": 8,
            "training": {"epochs": 4},
            "measure_train": False,
        },
        "complex": {
            "modes": ["residual/1", "residual/2"],
            "connectors": 3,
            "points": 9,
            "samples": 6,
            "training": {"epochs": 2},
        },
    },
    "ensembles": {
        "points": {"method": "curve_points", "curve": "bezier", "points": 6},
        "ends": {"method": "independent", "recipes": ["plain"], "seeds": [1, 2, 3]},
        "snapshots": {"method": "fast_geometric", "recipes": ["residual"], "seeds": [1, 2]},
        "average": {"method": "weight_average", "recipes": ["residual"], "seeds": [1, 2]},
        "plain_average": {"method": "weight_average", "recipes": ["plain"], "seeds": [1, 2]},
    },
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(CONFIG, tmp_path)


def write_history(folder: Path, *speeds: float | str) -> None:
    folder.mkdir(parents=True)
    rows = [f"{epoch},{speed}\n" for epoch, speed in enumerate(speeds, start=1)]
    (folder / "history.csv").write_text("".join(["epoch,images_per_second\n", *rows]))


# Of the 1,797 digits a fifth, rounded up, are for testing.
TRAIN, TEST = 1437, 360


@pytest.mark.parametrize(
    ("rule", "wildcards", "evaluations"),
    [
        ("train_network", {"recipe": "plain", "seed": "1"}, 5 * 3 * TRAIN),
        ("train_network", {"recipe": "recorded", "seed": "1"}, 5 * (3 * TRAIN + 7 * TEST)),
        ("train_curve", {"curve": "bezier"}, 3 * 3 * TRAIN),
        ("evaluate_network", {"recipe": "residual", "seed": "1"}, TRAIN + TEST),
        ("evaluate_curve", {"curve": "segment"}, 11 * (TRAIN + TEST)),
        # Batch-norm statistics are of another pass over the training set.
        ("evaluate_curve", {"curve": "bezier"}, 7 * (2 * TRAIN + TEST)),
        # Each point once a snapshot.
        ("evaluate_curve_snapshots", {"curve": "bezier"}, 2 * 7 * (2 * TRAIN + TEST)),
        ("evaluate_curve", {"curve": "of_words"}, 3 * (929_589 + 73_760 + 82_430)),
        ("evaluate_plane", {"plane": "three"}, 16 * (2 * TRAIN + TEST)),
        # Five points a step, or as many as are asked for.
        ("train_simplex", {"simplex": "espro", "seed": "1"}, 2 * 4 * 5 * 3 * TRAIN),
        ("train_simplex", {"simplex": "complex", "seed": "1"}, 3 * 2 * 6 * 3 * TRAIN),
        ("evaluate_simplex", {"simplex": "espro", "connectors": "2"}, 8 * TEST),
        ("evaluate_simplex", {"simplex": "espro", "connectors": "0"}, TEST),
        ("evaluate_simplex", {"simplex": "complex", "connectors": "1"}, 9 * (2 * TRAIN + TEST)),
        ("evaluate_simplex", {"simplex": "complex", "connectors": "0"}, 2 * (TRAIN + TEST)),
        ("collect_curve_members", {"ensemble": "points"}, 6 * (2 * TRAIN + TEST)),
        ("collect_members", {"ensemble": "ends"}, 3 * TEST),
        ("collect_members", {"ensemble": "snapshots"}, 2 * 3 * TEST),
        # One average a training.
        ("average_weights", {"ensemble": "average"}, 2 * (TRAIN + TEST)),
        ("average_weights", {"ensemble": "plain_average"}, 2 * TEST),
        ("collect_members_under_corruption", {"ensemble": "ends"}, 3 * 5 * TEST),
        ("collect_members_under_corruption", {"ensemble": "snapshots"}, 6 * 5 * TEST),
        ("collect_averages_under_corruption", {"ensemble": "average"}, 2 * 5 * TEST),
    ],
)
def test_evaluations_of_each_rule(config, tmp_path, rule, wildcards, evaluations) -> None:
    assert job_cost(config, rule, wildcards, tmp_path) == Cost(evaluations, None)


@pytest.mark.parametrize(
    "rule",
    [
        *("prepare_dataset", "evaluate_ensemble", "measure_distances"),
        "evaluate_simplex_ensemble",
        *("make_table", "make_figure", "all"),
    ],
)
def test_other_rules_evaluate_no_network(config, tmp_path, rule) -> None:
    assert job_cost(config, rule, {}, tmp_path) == Cost(0, 0.0)


def test_sizes_are_unknown_until_a_folder_is_prepared(config, tmp_path) -> None:
    wildcards = {"recipe": "of_own", "seed": "1"}
    assert job_cost(config, "train_network", wildcards, tmp_path) == Cost(None, None)


def test_sizes_of_prepared_files_are_read_from_their_headers(
    config, tmp_path, dataset_path, text_path
) -> None:
    (tmp_path / "datasets").mkdir()
    for name, path, sizes in (
        ("own", dataset_path, {"train": 70, "test": 45}),
        ("words", text_path, {"train": 230, "validation": 97, "test": 110}),
    ):
        (tmp_path / layout.dataset(name)).write_bytes(path.read_bytes())
        assert dataset_sizes(config.datasets[name], name, tmp_path) == sizes


def test_the_prepared_file_counts_before_the_published_size(config, tmp_path, dataset_path) -> None:
    prepared = tmp_path / layout.dataset("digits")
    prepared.parent.mkdir()
    prepared.write_bytes(dataset_path.read_bytes())
    assert dataset_sizes(config.datasets["digits"], "digits", tmp_path) == {"train": 70, "test": 45}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b'{"a"',
        (24).to_bytes(8, "little") + b'{"train_labels": 3      }',
        (3).to_bytes(8, "little") + b"{} ",
    ],
)
def test_a_damaged_prepared_file_is_as_good_as_none(config, tmp_path, content) -> None:
    prepared = tmp_path / layout.dataset("digits")
    prepared.parent.mkdir()
    prepared.write_bytes(content)
    sizes = dataset_sizes(config.datasets["digits"], "digits", tmp_path)
    assert sizes == {"train": TRAIN, "test": TEST}


@pytest.mark.parametrize(
    ("fraction", "validation", "training_images"),
    [(0.2, 0, None), (0.25, 0, 90), (0.11, 40, None), (0.11, 40, 90)],
)
def test_published_sizes_of_digits_are_those_of_the_preparation(
    tmp_path, fraction, validation, training_images
) -> None:
    settings = DatasetSettings(
        title="Digits",
        source="digits",
        test_fraction=fraction,
        validation=validation,
        training_images=training_images,
    )
    expected = dataset_sizes(settings, "digits", tmp_path)
    output = tmp_path / layout.dataset("digits")
    sources.prepare(settings, data_root=tmp_path, download=False, output=output)
    assert dataset_sizes(settings, "digits", tmp_path) == expected


@pytest.mark.parametrize(
    ("source", "validation", "sizes"),
    [
        ("mnist", 0, {"train": 60_000, "test": 10_000}),
        ("cifar10", 0, {"train": 50_000, "test": 10_000}),
        ("cifar100", 5_000, {"train": 45_000, "test": 5_000}),
    ],
)
def test_published_sizes_of_images(tmp_path, source, validation, sizes) -> None:
    settings = DatasetSettings(title="Images", source=source, validation=validation)
    assert dataset_sizes(settings, "images", tmp_path) == sizes


def test_published_sizes_of_the_penn_treebank(config, tmp_path) -> None:
    assert dataset_sizes(config.datasets["words"], "words", tmp_path) == text._PTB_TOKENS


def test_networks_known_to_have_no_batch_norm() -> None:
    without = []
    for name in registry.available():
        shapes = {"lstm": (), "regression_mlp": (1,), "vit_b_16": (3, 224, 224)}
        shape = shapes.get(name, (3, 32, 32))
        with torch.device("meta"):
            network = registry.build(name, input_shape=shape, classes=10)
        if not batch_norms(network):
            without.append(name)
    assert sorted(without) == sorted(WITHOUT_BATCH_NORM)


def seconds(config: Config, results: Path, rule: str = "train_network") -> float | None:
    wildcards = {"recipe": "plain", "seed": "9", "curve": "segment"}
    return job_cost(config, rule, wildcards, results).seconds


def test_seconds_are_of_the_median_speed_of_all_seeds(config, tmp_path) -> None:
    write_history(tmp_path / "networks/plain/seed1", 100.0, 1000.0)
    write_history(tmp_path / "networks/plain/seed2", 400.0)
    assert seconds(config, tmp_path) == pytest.approx(5 * TRAIN / 400.0)
    # A step on an image takes as long as three evaluations.
    assert seconds(config, tmp_path, "evaluate_curve") == pytest.approx(
        11 * (TRAIN + TEST) / (3 * 400.0)
    )


def test_a_few_histories_are_enough(config, tmp_path) -> None:
    for seed in range(10, 40):
        speed = 100.0 if seed < 10 + HISTORIES else 10_000.0
        write_history(tmp_path / f"networks/plain/seed{seed}", speed)
    costs = Costs(config, tmp_path)
    wildcards = {"recipe": "plain", "seed": "99"}
    first = costs.of_job("train_network", wildcards)
    assert first.seconds == pytest.approx(5 * TRAIN / 100.0)
    # They are read once.
    for path in tmp_path.glob("networks/plain/*/history.csv"):
        path.unlink()
    assert costs.of_job("train_network", wildcards) == first
    assert Costs(config, tmp_path).of_job("train_network", wildcards).seconds is None


def with_recipes(tmp_path: Path, **changes: dict[str, Any]) -> Config:
    recipes = {name: merge(CONFIG["recipes"]["plain"], change) for name, change in changes.items()}
    curve = {**CONFIG["curves"]["bezier"], "start": "twin/1", "end": "twin/2"}
    more = {"recipes": recipes, "curves": {"of_twin": curve} if "twin" in changes else {}}
    return load_config(merge(CONFIG, more), tmp_path)


def test_histories_of_the_recipe_count_before_others_of_its_network(tmp_path) -> None:
    config = with_recipes(tmp_path, twin={"training": {"epochs": 9}})
    write_history(tmp_path / "curves/of_twin", 50.0)
    assert seconds(config, tmp_path) == pytest.approx(5 * TRAIN / 50.0)
    write_history(tmp_path / "networks/twin/seed4", 100.0)
    assert seconds(config, tmp_path) == pytest.approx(5 * TRAIN / 100.0)
    write_history(tmp_path / "networks/plain/seed4", 200.0)
    assert seconds(config, tmp_path) == pytest.approx(5 * TRAIN / 200.0)


def test_a_branch_has_the_speed_of_what_it_continues(tmp_path) -> None:
    config = with_recipes(tmp_path, branch={"continues": "plain"})
    write_history(tmp_path / "networks/plain/seed1", 100.0)
    found = job_cost(config, "train_network", {"recipe": "branch", "seed": "1"}, tmp_path)
    assert found.seconds == pytest.approx(5 * TRAIN / 100.0)


@pytest.mark.parametrize(
    "change",
    [{"network": {"hidden": [8]}}, {"dataset": "large"}, {"network": {"name": "lenet5"}}],
)
def test_other_networks_and_other_images_tell_nothing(tmp_path, change) -> None:
    config = with_recipes(tmp_path, other=change)
    write_history(tmp_path / "networks/other/seed1", 100.0)
    assert seconds(config, tmp_path) is None


@pytest.mark.parametrize("speed", ["", "fast", "nan", "inf", "0", "-3"])
def test_bad_rows_of_a_history_are_left_out(config, tmp_path, speed) -> None:
    write_history(tmp_path / "networks/plain/seed1", speed, 50.0, speed)
    assert seconds(config, tmp_path) == pytest.approx(5 * TRAIN / 50.0)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"epoch,seconds\n1,2.0\n"])
def test_a_history_without_speeds_is_as_good_as_none(config, tmp_path, content) -> None:
    write_history(tmp_path / "networks/plain/seed1")
    (tmp_path / "networks/plain/seed1/history.csv").write_bytes(content)
    assert seconds(config, tmp_path) is None


def test_a_total_counts_what_is_unknown() -> None:
    found = total([Cost(10, 1.5), Cost(5, None), Cost(None, None)])
    assert (found.jobs, found.evaluations, found.counted) == (3, 15, 2)
    assert (found.seconds, found.timed) == (1.5, 1)


def test_the_report_has_a_line_a_rule() -> None:
    lines = report(
        {
            "make_table": [Cost(0, 0.0)],
            "evaluate_network": [Cost(999_999, 59.2)],
            "train_network": [Cost(1_500_000_000, 4321.0), Cost(1_500_000_000, None)],
            "evaluate_curve": [Cost(None, None), Cost(None, None)],
            "train_curve": [Cost(12_345_678, 100_000.0), Cost(None, None)],
        }
    ).splitlines()
    assert lines[:7] == [
        "Estimated cost, at most:",
        "rule              jobs        evaluations  time, one job at a time",
        "train_curve          2  1.23e7 for 1 of 2  1 d 3 h for 1 of 2",
        "evaluate_curve       2            unknown  unknown",
        "train_network        2             3.00e9  1 h 13 min for 1 of 2",
        "evaluate_network     1            999,999  1 min",
        "total                7  3.01e9 for 4 of 7  1 d 5 h for 3 of 7",
    ]
    known = "3 of 7 jobs have a history of the same network; that of the others is unknown."
    assert lines[8] == f"Time: measured, {known}"


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0.2, "1 s"), (59.0, "59 s"), (61.0, "2 min"), (3600.0, "1 h 0 min"), (86_399.0, "1 d 0 h")],
)
def test_durations_are_rounded_up(duration, expected) -> None:
    (line,) = [
        line
        for line in report({"train_network": [Cost(1, duration)]}).splitlines()
        if line.startswith("total")
    ]
    assert line.endswith(f"  {expected}")


def test_nothing_is_reported_where_no_network_is_evaluated() -> None:
    assert report({"make_table": [Cost(0, 0.0)], "all": [Cost(0, 0.0)]}) == ""


def make_workflow(**changes: Any) -> SimpleNamespace:
    job = SimpleNamespace(
        rule=SimpleNamespace(name="train_network"), wildcards={"recipe": "plain", "seed": "1"}
    )
    attributes: dict[str, Any] = {
        "output_settings": SimpleNamespace(quiet=None),
        "is_main_process": True,
        "dryrun": False,
        "touch": False,
        "dag": SimpleNamespace(needrun_jobs=lambda exclude_finished: iter([job, job])),
    }
    return SimpleNamespace(**{**attributes, **changes})


def test_the_plan_of_a_workflow_is_announced(config, tmp_path) -> None:
    announced = announcement(config, make_workflow(), tmp_path, dry_run=False)
    assert "train_network     2       43,110  unknown\n" in announced
    workflow = make_workflow(dryrun=True)
    assert announcement(config, workflow, tmp_path, dry_run=True) == announced


@pytest.mark.parametrize(
    "workflow",
    [
        make_workflow(is_main_process=False),
        make_workflow(dryrun=True),
        make_workflow(touch=True),
        make_workflow(dag=None),
        make_workflow(dag=SimpleNamespace(needrun_jobs=lambda exclude_finished: [])),
    ],
)
def test_nothing_is_announced_where_no_plan_is_wanted(config, tmp_path, workflow) -> None:
    assert announcement(config, workflow, tmp_path, dry_run=False) == ""


@pytest.mark.parametrize(
    ("names", "shown"),
    [(["RULES", "HOST"], True), (["RULES", "PROGRESS"], False), (["ALL"], False)],
)
def test_a_quiet_run_announces_nothing(config, tmp_path, names, shown) -> None:
    settings = SimpleNamespace(quiet=[SimpleNamespace(name=name) for name in names])
    workflow = make_workflow(output_settings=settings)
    assert bool(announcement(config, workflow, tmp_path, dry_run=False)) == shown


@pytest.mark.parametrize("attribute", sorted(vars(make_workflow())))
def test_another_snakemake_costs_the_estimate_and_not_the_run(config, tmp_path, attribute) -> None:
    workflow = make_workflow()
    delattr(workflow, attribute)
    assert announcement(config, workflow, tmp_path, dry_run=False) == ""
