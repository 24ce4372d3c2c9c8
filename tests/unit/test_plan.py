import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_configs import load, write_scale

from mode_connectivity import plan
from mode_connectivity.config import Config, load_config
from mode_connectivity.plan import Job, UserFile, job_that_makes, jobs_behind, jobs_of_artefacts
from mode_connectivity.settings import UserError

SCALE = """
datasets:
  digits: {title: Digits, source: digits}
  spirals: {title: Spirals, source: two_spirals}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [4]}
    training: {epochs: 5, batch_size: 32, learning_rate: 0.05, snapshots: [2, 4], checkpoints: [3]}
  later:
    extends: plain
    continues: plain@3
    training: {epochs: 2, snapshots: [], checkpoints: []}
  last: {extends: later, continues: later}
  spiral: {extends: plain, dataset: spirals}
curves:
  segment: {kind: segment, start: plain/1, end: plain/2@4}
  chain: {kind: polychain, start: plain/1, end: plain/2, training: {epochs: 2, snapshots: [1, 2]}}
  trivial: {kind: trivial_path, start: plain/1, end: plain/2}
  elsewhere: {kind: segment, recipe: plain, start: mine.safetensors, end: plain/1}
planes:
  three: {start: "espro/1:w0", end: "espro/1:t1", third: "espro/1:t2"}
  bent: {start: plain/1, end: plain/2, third: chain, iterates: plain/1, samples: around}
simplexes:
  espro: {modes: [plain], connectors: 2, training: {epochs: 1}}
  spiral_espro: {modes: [spiral], connectors: 1, training: {epochs: 1}}
geometries:
  two: {points: {G: plain/1, GA: chain}}
ensembles:
  ends: {method: independent, recipes: [plain], seeds: [1, 2]}
  average: {method: weight_average, recipes: [plain], seeds: [1]}
  drawn: {method: swag, recipes: [plain], seeds: [1], rank: 2, samples: 3}
  points: {method: curve_points, curve: chain, points: 4}
  around: {method: curve_swag, curve: chain, rank: 2, samples: 2}
  subspace: {method: subspace, curve: chain, samples: 3}
  complex: {method: simplex, simplex: espro, connectors: 2, seeds: [1, 2]}
  modes: {method: simplex, simplex: espro, connectors: 0, seeds: [1]}
  functions: {method: independent, recipes: [spiral], seeds: [1]}
  complex_functions: {method: simplex, simplex: spiral_espro, connectors: 1, seeds: [1]}
artefacts:
  garipov2018_trivial_path: {curves: [trivial]}
  garipov2018_table1:
    rows:
      first: {ensembles: [ends]}
      second: {ensembles: [average]}
  benton2021_figure11:
    ensembles: {Ends: ends, Average: average}
    corruptions: [fog, gaussian_noise]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.safetensors").touch()
    return load(write_scale(tmp_path, SCALE))


def made(config: Config, path: str) -> Job:
    job = job_that_makes(config, path)
    assert job is not None, path
    assert path in job.outputs
    return job


DIGITS = "datasets/digits.safetensors"
WEIGHTS = "networks/plain/seed{}/weights.safetensors"
ENDS = (WEIGHTS.format(1), WEIGHTS.format(2))
SNAPSHOTS = "networks/plain/seed{}/snapshots"
CHAIN = "curves/chain/vertices.safetensors"
COMPLEX = "simplexes/espro/seed{}/vertices.safetensors"
MEMBERS = "ensembles/{}/members.csv"


@pytest.mark.parametrize(
    ("path", "rule", "inputs"),
    [
        (DIGITS, "prepare_dataset", ()),
        ("datasets/digits/corruptions/fog.safetensors", "corrupt_dataset", (DIGITS,)),
        (WEIGHTS.format(1), "train_network", (DIGITS,)),
        (SNAPSHOTS.format(12), "train_network", (DIGITS,)),
        # From a checkpoint, and from the end of another training.
        ("networks/later/seed2/run.json", "train_network", (DIGITS, SNAPSHOTS.format(2))),
        (
            "networks/last/seed2/run.json",
            "train_network",
            (DIGITS, "networks/later/seed2/weights.safetensors"),
        ),
        ("networks/plain/seed1/evaluation/metrics.csv", "evaluate_network", (DIGITS, ENDS[0])),
        (CHAIN, "train_curve", (DIGITS, *ENDS)),
        ("curves/chain/grid.csv", "evaluate_curve", (DIGITS, CHAIN)),
        ("curves/segment/grid.csv", "evaluate_curve", (DIGITS, ENDS[0], SNAPSHOTS.format(2))),
        ("curves/elsewhere/grid.csv", "evaluate_curve", (DIGITS, "mine.safetensors", ENDS[0])),
        (
            "curves/chain/snapshots.csv",
            "evaluate_curve_snapshots",
            (DIGITS, "curves/chain/snapshots"),
        ),
        ("planes/three/grid.csv", "evaluate_plane", (DIGITS, *[COMPLEX.format(1)] * 3)),
        (
            "planes/bent/points.csv",
            "evaluate_plane",
            (DIGITS, *ENDS, CHAIN, *[SNAPSHOTS.format(1)] * 2, "curves/chain/snapshots"),
        ),
        ("geometries/two/distances.csv", "measure_distances", (DIGITS, ENDS[0], CHAIN)),
        (COMPLEX.format(2), "train_simplex", (DIGITS, ENDS[1])),
        (
            "simplexes/espro/seed1/connectors2/grid.csv",
            "evaluate_simplex",
            (DIGITS, COMPLEX.format(1)),
        ),
        ("simplexes/espro/seed1/connectors0/grid.csv", "evaluate_simplex", (DIGITS, ENDS[0])),
        (MEMBERS.format("ends"), "collect_members", (DIGITS, *ENDS)),
        (MEMBERS.format("average"), "average_weights", (DIGITS, *[SNAPSHOTS.format(1)] * 2)),
        (MEMBERS.format("drawn"), "collect_swag_members", (DIGITS, *[SNAPSHOTS.format(1)] * 2)),
        (MEMBERS.format("points"), "collect_curve_members", (DIGITS, CHAIN)),
        (MEMBERS.format("around"), "collect_bend_samples", (DIGITS, "curves/chain/snapshots")),
        (MEMBERS.format("subspace"), "collect_subspace_members", (DIGITS, CHAIN)),
        (
            MEMBERS.format("complex"),
            "evaluate_simplex_ensemble",
            tuple(
                f"simplexes/espro/seed{seed}/connectors2/{name}"
                for name in ("grid.csv", "predictions.safetensors")
                for seed in (1, 2)
            ),
        ),
        (
            "ensembles/functions/function_values.safetensors",
            "collect_functions",
            ("datasets/spirals.safetensors", "networks/spiral/seed1/weights.safetensors"),
        ),
        (
            MEMBERS.format("complex_functions"),
            "collect_simplex_functions",
            (
                "datasets/spirals.safetensors",
                "simplexes/spiral_espro/seed1/vertices.safetensors",
            ),
        ),
        (
            "ensembles/average/metrics.csv",
            "evaluate_ensemble",
            (MEMBERS.format("average"), "ensembles/average/predictions.safetensors"),
        ),
        (
            "ensembles/average/corruptions/fog/members.csv",
            "collect_averages_under_corruption",
            (
                DIGITS,
                "datasets/digits/corruptions/fog.safetensors",
                MEMBERS.format("average"),
                "ensembles/average/weights",
            ),
        ),
        (
            "ensembles/modes/corruptions/fog/members.csv",
            "collect_simplex_points_under_corruption",
            (
                DIGITS,
                ENDS[0],
                "datasets/digits/corruptions/fog.safetensors",
                MEMBERS.format("modes"),
            ),
        ),
        (
            "ensembles/ends/shift.csv",
            "evaluate_ensemble_under_shift",
            (
                MEMBERS.format("ends"),
                "ensembles/ends/predictions.safetensors",
                # In the order of CIFAR-10-C, whatever that of the artefact is.
                "ensembles/ends/corruptions/gaussian_noise/predictions.safetensors",
                "ensembles/ends/corruptions/fog/predictions.safetensors",
            ),
        ),
        (
            "tables/garipov2018_table1_second.tex",
            "make_table",
            (MEMBERS.format("average"), "ensembles/average/metrics.csv"),
        ),
        (
            "figures/garipov2018_trivial_path.pdf",
            "make_figure",
            ("curves/trivial/grid.csv",),
        ),
    ],
)
def test_the_job_that_makes_a_file(config, path, rule, inputs) -> None:
    job = made(config, path)
    assert (job.rule, job.inputs) == (rule, inputs)


def test_a_job_has_its_names_and_its_log(config) -> None:
    training = made(config, "networks/plain/seed12/history.csv")
    assert training.wildcards == {"recipe": "plain", "seed": "12"}
    assert training.name == "plain/12"
    assert training.log == "networks/plain/seed12/train.log"
    assert set(training.outputs) == {
        f"networks/plain/seed12/{name}"
        for name in ("weights.safetensors", "history.csv", "run.json", "snapshots")
    }
    assert made(config, "ensembles/ends/metrics.csv").log == "ensembles/ends_metrics.log"
    assert made(config, "ensembles/ends/corruptions/fog/run.json").name == "ends/fog"
    assert training == made(config, "networks/plain/seed12/snapshots")


@pytest.mark.parametrize(
    "path",
    [
        "networks/unknown/seed1/weights.safetensors",
        "networks/plain/seedx/weights.safetensors",
        "networks/plain/seed1/other.safetensors",
        "networks/plain/seed1/weights.safetensors/more",
        "curves/plain/grid.csv",
        "ensembles/ends/function_values.safetensors",
        "ensembles/points/metrics.csv",
        "ensembles/ends/corruptions/rain/members.csv",
        "simplexes/espro/seed1/connectors02/grid.csv",
        "tables/garipov2018_table1_third.csv",
        "figures/garipov2018_table1.png",
        "tables/benton2021_figure8.csv",
        "tables/nothing.csv",
        "mine.safetensors",
        "",
    ],
)
def test_what_no_rule_makes(config, path) -> None:
    assert job_that_makes(config, path) is None
    with pytest.raises(UserError, match="no rule makes"):
        jobs_behind(config, [path])


def test_a_simplex_has_no_more_connectors_than_are_trained(config) -> None:
    with pytest.raises(UserError, match="has 2 connectors, not 3: raise its connectors"):
        job_that_makes(config, "simplexes/espro/seed1/connectors3/grid.csv")


def test_each_output_is_made_by_one_rule(config) -> None:
    """Many rules make files of the same names, each for ensembles of its own kind."""
    for name in config.ensembles:
        makers = [
            rule.name
            for rule in plan.RULES.values()
            if "ensembles/{ensemble}/members.csv" in rule.paths
            and rule.is_for(config, {"ensemble": name})
        ]
        assert len(makers) == 1, name
        assert name in plan.ensembles_of(config, makers[0])


def test_files_of_the_user_are_told_from_results(config) -> None:
    inputs = made(config, "curves/elsewhere/grid.csv").inputs
    assert [isinstance(path, UserFile) for path in inputs] == [False, True, False]


def test_jobs_stand_behind_what_they_need_each_once(config) -> None:
    jobs = jobs_behind(config, ["networks/last/seed1/history.csv", "ensembles/complex/metrics.csv"])
    assert len(set(jobs)) == len(jobs)
    there: set[str] = set()
    for job in jobs:
        assert all(isinstance(path, UserFile) or path in there for path in job.inputs)
        there.update(job.outputs)
    assert sorted(f"{job.rule} {job.name}" for job in jobs) == [
        "evaluate_simplex espro/1/2",
        "evaluate_simplex espro/2/2",
        "evaluate_simplex_ensemble complex",
        "prepare_dataset digits",
        "train_network last/1",
        "train_network later/1",
        "train_network plain/1",
        "train_network plain/2",
        "train_simplex espro/1",
        "train_simplex espro/2",
    ]


def test_the_jobs_of_an_artefact_are_those_of_its_rows_and_its_own(config) -> None:
    whole = {job.name for job in jobs_of_artefacts(config, ["garipov2018_table1"])}
    row = {job.name for job in jobs_of_artefacts(config, ["garipov2018_table1_first"])}
    assert row - whole == {"garipov2018_table1_first"}
    assert whole - row == {"garipov2018_table1", "average"}


def test_which_artefacts_are_selected(config) -> None:
    everything = ["benton2021_figure11", "garipov2018_trivial_path", "garipov2018_table1"]
    assert sorted(plan.selected_artefacts(config)) == sorted(everything)
    chosen = config.model_copy(update={"select": ["benton2021", "garipov2018_table1_first"]})
    names = ["benton2021_figure11", "garipov2018_table1_first"]
    assert plan.selected_artefacts(chosen) == names
    assert plan.selected_artefacts(chosen, ["garipov2018_table1"]) == ["garipov2018_table1"]
    twice = ["garipov2018_table1", "garipov2018"]
    assert sorted(plan.selected_artefacts(chosen, twice)) == sorted(everything[1:])


def test_an_artefact_may_be_a_table_and_a_figure() -> None:
    files = plan.artefact_files("garipov2018_trivial_path")
    assert [Path(path).parent.name for path in files] == ["tables"] * 3 + ["figures"] * 4
    assert plan.artefact_files("garipov2018_table1_first") == [
        f"tables/garipov2018_table1_first.{kind}" for kind in ("csv", "md", "tex")
    ]


def test_a_long_chain_of_trainings(tmp_path) -> None:
    recipe: dict[str, Any] = {
        "dataset": "digits",
        "network": {"name": "fully_connected"},
        "training": {"epochs": 1, "batch_size": 10, "learning_rate": 0.1},
    }
    recipes = {"r0": recipe}
    for before, after in itertools.pairwise(range(300)):
        recipes[f"r{after}"] = {**recipe, "continues": f"r{before}"}
    config = load_config(
        {"datasets": {"digits": {"title": "D", "source": "digits"}}, "recipes": recipes}, tmp_path
    )
    jobs = jobs_behind(config, ["networks/r299/seed1/weights.safetensors"])
    assert [job.name for job in jobs] == ["digits", *(f"r{number}/1" for number in range(300))]


def test_nothing_heavy_is_imported() -> None:
    program = "import sys, mode_connectivity.plan; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    assert not {"torch", "numpy", "pandas", "matplotlib", "snakemake"} & set(found.stdout.split())
