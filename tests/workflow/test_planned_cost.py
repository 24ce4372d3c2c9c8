"""What a run says of its cost before it starts."""

import re

import pytest
from pipeline import Project

HEADING = "Estimated cost, at most:"
CONFIG = """
datasets:
  small: {title: Small, source: digits}
recipes:
  small:
    dataset: small
    network: {name: fully_connected, hidden: [4]}
    training: {epochs: 1, batch_size: 100, learning_rate: 0.01}
"""
WEIGHTS = "results/demo/networks/small/seed{seed}/weights.safetensors"
TRAIN = 1437


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A small project with one trained network, and what the run said."""
    project = Project(tmp_path_factory.mktemp("trained"))
    (project.folder / "config.yaml").write_text(CONFIG)
    return project, project.make(WEIGHTS.format(seed=1))


def line_of(rule: str, output: str) -> list[str]:
    """The cells of a rule in the report, the only one of an output."""
    assert output.count(HEADING) == 1, output
    (line,) = re.findall(rf"^{rule}  .*$", output.partition(HEADING)[2], re.MULTILINE)
    return re.split("  +", line)


def test_a_dry_run_ends_with_the_cost_of_its_plan(tmp_path) -> None:
    output = Project(tmp_path).make("garipov2018_table1", options=["-n", "--config", "scale=paper"])
    plan, _, report = output.partition(HEADING)
    assert "This was a dry-run" in plan
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan.rpartition("Job stats:")[2], re.MULTILINE))
    assert line_of("train_network", output)[1] == jobs["train_network"]
    assert "make_table" not in report
    assert "there is no history" in report


def test_a_run_tells_its_cost_once_and_first(trained) -> None:
    """The processes of its jobs, which read the same Snakefile, say nothing."""
    project, output = trained
    assert line_of("train_network", output) == ["train_network", "1", f"{3 * TRAIN:,}", "unknown"]
    before, _, after = output.partition(HEADING)
    assert "Job stats:" in before
    assert "rule prepare_dataset" in after and "rule prepare_dataset" not in before
    assert "rule train_network" in after
    (log,) = project.folder.glob(".snakemake/log/*.log")
    assert log.read_text().count(HEADING) == 1


def test_a_history_tells_the_time(trained, tmp_path) -> None:
    """From any folder: Snakemake leaves its working directory before Python exits."""
    project = trained[0].copy(tmp_path / "copy")
    history = project.results / "networks" / "small" / "seed1" / "history.csv"
    history.write_text("images_per_second\n0.1\n")
    (tmp_path / "elsewhere").mkdir()
    options = ["--dry-run", "--directory", str(project.folder)]
    options += ["--configfile", str(project.folder / "config.yaml")]
    output = Project(tmp_path / "elsewhere").make(WEIGHTS.format(seed=2), options=options)
    assert line_of("train_network", output)[3] == "4 h 0 min"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (1, ["--dry-run"]),
        (2, ["--dry-run", "--quiet"]),
        (2, ["--summary"]),
        (2, ["--d3dag"]),
    ],
)
def test_no_plan_no_cost(trained, target, options) -> None:
    """Nothing to do, nothing wanted, or no run at all."""
    output = trained[0].make(WEIGHTS.format(seed=target), options=options)
    assert HEADING not in output


def test_a_plan_that_fails_has_no_cost(trained) -> None:
    finished = trained[0].run(WEIGHTS.format(seed="x"), options=["--dry-run"])
    assert finished.returncode != 0
    assert HEADING not in finished.stdout
    assert "Traceback" not in finished.stdout
