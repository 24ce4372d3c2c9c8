import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from small_configs import load, write_scale

from mode_connectivity import plan
from mode_connectivity import status as status_module
from mode_connectivity.config import Config
from mode_connectivity.cost import job_cost, recipe_of_job
from mode_connectivity.job_log import Begin, hold
from mode_connectivity.settings import UserError
from mode_connectivity.status import JobStatus, Status, as_data, survey

SCALE = """
datasets:
  digits: {title: Digits, source: digits}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected, hidden: [4]}
    training: {epochs: 5, batch_size: 32, learning_rate: 0.05, snapshots: [2, 4]}
curves:
  segment: {kind: segment, start: plain/1, end: plain/2, points: 11}
  chain: {kind: polychain, start: plain/1, end: plain/2, training: {epochs: 2, snapshots: [1, 2]}}
simplexes:
  espro: {modes: [plain], connectors: 3, training: {epochs: 1}}
ensembles:
  ends: {method: independent, recipes: [plain], seeds: [1, 2]}
  espro: {method: simplex, simplex: espro, connectors: 3, seeds: [1, 2]}
artefacts:
  garipov2018_table1: {rows: {ends: {ensembles: [ends]}}}
  garipov2018_table2: {rows: {curves: {curves: [segment, chain]}}}
  gotmare2018_modes:
    modes: {G: plain/1}
    differences: {}
    rows: {ends: {segment: segment, polychain: chain}}
  benton2021_figure11: {ensembles: {Ends: ends, ESPRO: espro}, corruptions: [fog]}
"""
TRAINING = ("weights.safetensors", "history.csv", "run.json", "snapshots")
HERE = os.uname().nodename
STAMP = "2026-03-01 12:{:02d}:{:02d}  "


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return load(write_scale(tmp_path, SCALE))


@pytest.fixture
def results(config: Config) -> "Results":
    return Results(config)


class Results:
    """A folder of results that is written by hand."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.root = Path(config.results, config.scale)

    def job(self, path: str) -> plan.Job:
        job = plan.job_that_makes(self.config, path)
        assert job is not None, path
        return job

    def make(self, *paths: str, behind: bool = False) -> None:
        """Write the files of the jobs that make some files, or of all that they need too."""
        jobs = plan.jobs_behind(self.config, paths) if behind else map(self.job, paths)
        for job in jobs:
            for output in job.outputs:
                (self.root / output).parent.mkdir(parents=True, exist_ok=True)
                (self.root / output).touch()

    def log(
        self, path: str, *lines: str, host: str = HERE, age: float = 0.0, begins: bool = True
    ) -> Path:
        """Write the log of the job that makes a file, its first line before the others."""
        job = self.job(path)
        log = self.root / "logs" / job.log
        log.parent.mkdir(parents=True, exist_ok=True)
        first = [str(Begin(job.rule, job.name, host, 4242))] if begins else []
        texts = [f"{STAMP.format(n, 0)}{text}\n" for n, text in enumerate([*first, *lines])]
        log.write_text("".join(texts))
        then = time.time_ns() - int(age * 1e9)
        os.utime(log, ns=(then, then))
        return log

    def checkpoint(self, folder: str, **state: Any) -> None:
        path = self.root / folder / "checkpoint.safetensors"
        path.parent.mkdir(parents=True)
        header = json.dumps({"__metadata__": {"state": json.dumps(state)}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)


@pytest.fixture
def runs() -> Iterator[Callable[[Path], None]]:
    """Hold the lock of a log to the end of the test."""
    with ExitStack() as held:

        def take(log: Path) -> None:
            assert hold(held.enter_context(log.open("a")))

        yield take


def names(jobs: "list[JobStatus]") -> list[str]:
    return [f"{job.rule} {job.name}" for job in jobs]


def artefact(status: Status, name: str) -> Any:
    (found,) = [each for each in status.artefacts if each.name == name]
    return found


WEIGHTS = "networks/plain/seed{}/weights.safetensors"


def test_without_a_folder_of_results_everything_is_missing(config) -> None:
    status = survey(config)
    jobs = plan.jobs_of_artefacts(config, plan.selected_artefacts(config))
    assert status.jobs == {"missing": len(jobs), "done": 0}
    assert not status.all_done
    assert [each.done for each in status.artefacts] == [False] * 4
    table = artefact(status, "garipov2018_table1")
    assert table.needs == {
        "prepare_dataset": 1,
        "train_network": 2,
        "collect_members": 1,
        "evaluate_ensemble": 1,
        "make_table": 1,
    }
    assert (status.running, status.failed, status.stopped) == ([], [], [])


def test_costs_are_of_distinct_jobs(config, results) -> None:
    results.make(WEIGHTS.format(2), behind=True)
    status = survey(config)
    of_training = job_cost(config, "train_network", {"recipe": "plain", "seed": "1"}, results.root)
    assert status.missing["train_network"].jobs == 1
    assert status.missing["train_network"].cost.evaluations == of_training.evaluations
    tables = [artefact(status, f"garipov2018_table{number}") for number in (1, 2)]
    assert [table.needs["train_network"] for table in tables] == [1, 1]
    assert sum(status.missing[rule].jobs for rule in status.missing) == status.work.jobs
    every = sum(
        job_cost(config, job.rule, job.wildcards, results.root).evaluations or 0
        for job in plan.jobs_of_artefacts(config, plan.selected_artefacts(config))
        if not (results.root / job.outputs[0]).exists()
    )
    assert status.work.cost.evaluations == every > 0
    assert tables[0].work.cost.evaluations < every
    # Tables and what is made of stored predictions run no network.
    assert tables[0].work.jobs == 4 and tables[0].work.cost.jobs == 2


def test_seconds_are_known_where_there_is_a_history(config, results) -> None:
    assert survey(config).work.cost.timed == 0
    results.make(WEIGHTS.format(2), behind=True)
    history = results.root / "networks/plain/seed2/history.csv"
    history.write_text("epoch,images_per_second\n1,1437\n")
    cost = survey(config).missing["train_network"].cost
    # Five epochs of 1,437 images.
    assert (cost.seconds, cost.timed) == (pytest.approx(5.0), 1)


def test_what_is_done_needs_nothing_whatever_has_become_of_its_inputs(config, results) -> None:
    files = plan.artefact_files("garipov2018_table1")
    results.make(*files)
    status = survey(config, ["garipov2018_table1"])
    assert artefact(status, "garipov2018_table1").done
    assert status.all_done
    (results.root / files[1]).unlink()
    table = artefact(survey(config, ["garipov2018_table1"]), "garipov2018_table1")
    # Its own files are made again, and for that all that they are made of.
    assert table.needs["make_table"] == 1 and table.needs["train_network"] == 2


def test_what_nobody_needs_any_more_is_not_to_be_done(config, results) -> None:
    """As Snakemake, which makes no input again of what is there."""
    results.make(*plan.artefact_files("garipov2018_table1"), behind=True)
    for path in ("datasets/digits.safetensors", WEIGHTS.format(1)):
        (results.root / path).unlink()
    status = survey(config, ["garipov2018_table1"])
    assert status.all_done and status.work.jobs == 0 and status.missing == {}
    assert status.jobs == {"done": 4}


def test_a_job_that_should_have_made_anew_what_is_there(config, results) -> None:
    """Snakemake has deleted its files; those that are made of them are still of the last run."""
    results.make(*plan.artefact_files("garipov2018_table1"), behind=True)
    (results.root / WEIGHTS.format(1)).unlink()
    results.log(WEIGHTS.format(1), "error: the loss is not finite")
    status = survey(config, ["garipov2018_table1"])
    assert artefact(status, "garipov2018_table1").done
    assert names(status.failed) == ["train_network plain/1"]
    assert status.jobs == {"done": 5, "failed": 1}
    assert status.work.jobs == 0


def test_an_artefact_that_lacks_only_itself(config, results) -> None:
    results.make("ensembles/ends/metrics.csv", behind=True)
    table = artefact(survey(config, ["garipov2018_table1_ends"]), "garipov2018_table1_ends")
    assert table.needs == {"make_table": 1}


def test_a_job_that_lacks_one_of_its_files_is_not_done(config, results) -> None:
    results.make(WEIGHTS.format(1), behind=True)
    assert survey(config).jobs["done"] == 2
    (results.root / "networks/plain/seed1/run.json").unlink()
    assert survey(config).jobs["done"] == 1


def test_running_jobs(config, results, runs) -> None:
    log = results.log(
        WEIGHTS.format(1),
        "device cpu",
        "epoch 1/5  learning rate 0.05  train nll 2.3026  train error 90 %  60.00 s  24 images/s",
        "epoch 2/5  learning rate 0.05  train nll 1.5  train error 45.5 %  60.00 s  25 images/s",
    )
    runs(log)
    status = survey(config)
    (job,) = status.running
    assert names(status.running) == ["train_network plain/1"]
    assert (job.state, job.planned, job.runs) == ("running", True, True)
    assert status.jobs["running"] == 1
    (data,) = as_data(status)["running"]
    assert data["rule"] == "train_network"
    assert data["log"] == "logs/networks/plain/seed1/train.log"
    assert (data["host"], data["process"], data["device"]) == (HERE, 4242, "cpu")
    assert data["at"] == [{"unit": "epoch", "done": 2.0, "total": 5}]
    assert data["share"] == 0.4
    assert data["measured"] == {"train_nll": 1.5, "train_error": 45.5}
    assert data["images_per_second"] == 25
    assert data["seconds_left"] == pytest.approx(180, abs=5)


def test_a_running_job_of_another_machine_is_told_as_probable(config, results) -> None:
    results.log(WEIGHTS.format(1), "epoch 1/5  60.00 s", host="elsewhere", age=100)
    status = survey(config)
    assert [job.state for job in status.running] == ["probably running"]
    assert as_data(status)["jobs"]["probably_running"] == 1
    results.log(WEIGHTS.format(1), "epoch 1/5  60.00 s", host="elsewhere", age=1000)
    assert [job.state for job in survey(config).stopped] == ["probably killed"]


def test_running_jobs_that_no_artefact_needs(config, results, runs) -> None:
    """Asked for by their files, of other artefacts, or of a config that has changed since."""
    runs(results.log(WEIGHTS.format(7), "epoch 1/5  1.00 s"))
    gone = results.root / "logs" / "networks" / "gone" / "seed1" / "train.log"
    gone.parent.mkdir(parents=True)
    gone.write_text(f"{STAMP.format(0, 0)}{Begin('train_network', 'gone/1', HERE, 1)}\n")
    runs(gone)
    finished = gone.with_name("evaluate.log")
    finished.write_text(f"{STAMP.format(0, 0)}done after 1.0 s\n")
    status = survey(config)
    assert names(status.running) == ["train_network gone/1", "train_network plain/7"]
    assert [job.planned for job in status.running] == [False, False]
    assert not status.all_done
    # Who asks for some artefacts asks for their jobs alone.
    assert survey(config, ["garipov2018_table1"]).running == []


def test_failed_jobs(config, results) -> None:
    error = "error: the loss or the weights are not finite in epoch 3\nsecond line"
    results.log(WEIGHTS.format(1), "epoch 1/5  1.00 s", "failed\nTraceback\n  here", error)
    status = survey(config)
    assert names(status.failed) == ["train_network plain/1"]
    (data,) = as_data(status)["failed"]
    assert (data["state"], data["said"], data["resumes_after"]) == ("failed", error, None)


def test_the_log_of_a_job_that_is_done_is_not_looked_at(config, results) -> None:
    results.make(WEIGHTS.format(1), behind=True)
    results.log(WEIGHTS.format(1), "error: of an earlier attempt")
    assert survey(config).failed == []


def test_a_job_whose_files_are_gone_is_missing(config, results) -> None:
    results.log(WEIGHTS.format(1), "done after 3.0 s")
    status = survey(config)
    assert (status.failed, status.stopped) == ([], [])
    assert status.missing["train_network"].jobs == 2
    assert status.jobs == {"missing": status.work.jobs, "done": 0}


def test_an_old_log_without_a_last_word_says_nothing(config, results) -> None:
    results.log(WEIGHTS.format(1), "epoch 5/5  1.00 s", begins=False, age=1000)
    status = survey(config)
    assert (status.running, status.stopped) == ([], [])


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["stopped by SIGTERM after epoch 3; run again to resume"], "stopped"),
        ([], "killed"),
        (None, "half-way"),
    ],
)
def test_stopped_jobs_go_on_where_their_checkpoint_is(config, results, lines, state) -> None:
    results.checkpoint("networks/plain/seed1/.progress", epoch=3, history=[{"epoch": 1}] * 3)
    if lines is not None:
        results.log(WEIGHTS.format(1), *lines)
    status = survey(config)
    (job,) = status.stopped
    assert (job.name, job.state, job.resumes_after) == ("plain/1", state, "epoch 3")
    assert status.jobs[state] == 1


def test_a_failed_job_may_have_a_checkpoint_too(config, results) -> None:
    results.checkpoint("networks/plain/seed1/.progress", epoch=2)
    results.log(WEIGHTS.format(1), "error: no space left on the device")
    assert [job.resumes_after for job in survey(config).failed] == ["epoch 2"]


@pytest.mark.parametrize(
    ("folder", "state", "expected"),
    [
        ("curves/chain/.progress", {"epoch": 1}, {"train_curve chain": "epoch 1"}),
        # One place for the training and the measurement that follows it.
        ("curves/chain/.progress", {"done": 40}, {"evaluate_curve chain": "point 40"}),
        (
            "curves/chain/.progress/epoch2",
            {"done": 4},
            {"evaluate_curve_snapshots chain": "epoch 2, point 4"},
        ),
        (
            "simplexes/espro/seed1/.progress/connector2",
            {"epoch": 1},
            {"train_simplex espro/1": "connector 2, epoch 1"},
        ),
        (
            "ensembles/ends/corruptions/fog/.progress/seed2",
            {"done": 1},
            {"collect_members_under_corruption ends/fog": "seed 2, point 1"},
        ),
        ("ensembles/ends/.progress", {"done": 1}, {"collect_members ends": "point 1"}),
    ],
)
def test_checkpoints_of_each_kind(config, results, folder, state, expected) -> None:
    results.checkpoint(folder, **state)
    stopped = survey(config).stopped
    assert {f"{job.rule} {job.name}": job.resumes_after for job in stopped} == expected


def test_the_last_part_that_has_a_checkpoint_counts(config, results) -> None:
    for connector, epoch in ((1, 1), (10, 0), (2, 1)):
        folder = f"simplexes/espro/seed1/.progress/connector{connector}"
        results.checkpoint(folder, epoch=epoch)
    assert [job.resumes_after for job in survey(config).stopped] == ["connector 10, epoch 0"]


def test_jobs_that_run_networks_keep_checkpoints(config) -> None:
    wildcards = {
        **{"recipe": "plain", "curve": "chain", "simplex": "espro", "ensemble": "ends"},
        **{"plane": "none", "geometry": "none"},
    }

    def runs_a_network(rule: str) -> bool:
        try:
            return recipe_of_job(config, rule, wildcards) is not None
        except KeyError:
            return True

    at_work = {rule for rule in plan.RULES if runs_a_network(rule)}
    # Distances are of weights.
    assert set(status_module.PARTS) == at_work - {"measure_distances"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"{}", (6).to_bytes(8, "little") + b'{"a":1'],
)
def test_a_damaged_checkpoint_is_none(config, results, content) -> None:
    results.checkpoint("networks/plain/seed1/.progress", epoch=3)
    path = results.root / "networks/plain/seed1/.progress/checkpoint.safetensors"
    path.write_bytes(content)
    assert survey(config).stopped == []


def test_damaged_records_and_histories_change_nothing(config, results) -> None:
    results.make(WEIGHTS.format(1), behind=True)
    folder = results.root / "networks/plain/seed1"
    (folder / "run.json").write_bytes(b"{\xff")
    (folder / "history.csv").write_bytes(b"\xff\xfe,\n\n1")
    status = survey(config)
    assert status.jobs["done"] == 2
    assert status.missing["train_network"].cost.timed == 0


def test_names_that_the_config_does_not_have(config, results) -> None:
    results.make(WEIGHTS.format(1), "datasets/digits/corruptions/fog.safetensors", behind=True)
    for path in ("networks/old/seed1/weights.safetensors", "curves/old_segment/grid.csv"):
        (results.root / path).parent.mkdir(parents=True)
        (results.root / path).touch()
    (results.root / "datasets" / "old.safetensors").touch()
    (results.root / "datasets" / ".old.safetensors.17").touch()
    assert survey(config).strangers == [
        *("networks/old", "curves/old_segment", "datasets/old.safetensors")
    ]


def test_results_of_another_scale_are_left_alone(config, results) -> None:
    results.make(WEIGHTS.format(1), behind=True)
    results.root.rename(results.root.with_name("paper"))
    status = survey(config)
    assert status.jobs["done"] == 0
    assert status.other_scales == ["paper"]


def test_an_unknown_artefact_is_told_with_the_nearest_name(config) -> None:
    with pytest.raises(UserError) as caught:
        survey(config, ["garipov2018_tabel1"])
    text = str(caught.value)
    assert text.startswith("'garipov2018_tabel1' is no artefact of the scale demo")
    assert "did you mean 'garipov2018_table1'?" in text
    assert "garipov2018_table2_curves" in text and "benton2021" in text


def test_papers_and_rows_can_be_asked_for(config) -> None:
    status = survey(config, ["garipov2018", "garipov2018_table2_curves"])
    names = [each.name for each in status.artefacts]
    assert names == ["garipov2018_table1", "garipov2018_table2", "garipov2018_table2_curves"]


@pytest.mark.parametrize("name", ["results", "results/demo", "results/a", "results/a/demo"])
def test_a_folder_of_results_that_is_a_file(config, name) -> None:
    if "/a" in name:
        config = config.model_copy(update={"results": "results/a"})
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).touch()
    with pytest.raises(UserError, match=rf"results: {name} is no folder"):
        survey(config)


def test_a_folder_that_cannot_be_looked_into(config, monkeypatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(UserError, match="cannot be read \\(Permission denied\\)"):
        survey(config)


def test_a_folder_that_may_not_be_read(config, results, monkeypatch) -> None:
    results.make(WEIGHTS.format(1), behind=True)
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "seed1":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="seed1 cannot be read"):
        survey(config)


def test_each_folder_is_read_once(config, results, monkeypatch) -> None:
    results.make("ensembles/ends/metrics.csv", behind=True)
    read: list[Path] = []
    names_in = status_module._names_in
    monkeypatch.setattr(
        status_module, "_names_in", lambda path: read.append(path) or names_in(path)
    )
    survey(config)
    assert len(read) == len(set(read)) > 5
    # Nothing is looked for where there is nothing.
    assert all(path.is_dir() for path in read)


def test_data_have_no_number_that_json_lacks(config, results, runs) -> None:
    runs(results.log(WEIGHTS.format(1), "epoch 1/5  train nll nan  train error inf %  1.00 s"))
    data = as_data(survey(config))
    assert data["running"][0]["measured"] == {"train_nll": None, "train_error": None}
    json.dumps(data, allow_nan=False)


def test_nothing_heavy_is_imported() -> None:
    program = "import sys, mode_connectivity.status; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    loaded = set(found.stdout.split())
    assert not {"torch", "numpy", "pandas", "matplotlib", "snakemake", "rich"} & loaded
