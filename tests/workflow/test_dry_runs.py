"""What a run would do, at both scales, with the config as it ships."""

import json
from collections import Counter

import pytest
from pipeline import CHECKOUT, RULES, Project

from mode_connectivity.reporting.settings import ArtefactSettings


def named(counts: str) -> dict[str, int]:
    """Read ``train_network 2, make_table 1``."""
    pairs = (pair.split() for pair in counts.split(","))
    return {name: int(count) for name, count in pairs}


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("empty"))


EVERYTHING = {
    "demo": (
        "prepare_dataset 3, train_network 14, evaluate_network 3, train_curve 10, "
        "evaluate_curve 17, evaluate_plane 6, collect_curve_members 1, make_table 3, make_figure 7"
    ),
    "paper": (
        "prepare_dataset 5, train_network 22, evaluate_network 3, train_curve 17, "
        "evaluate_curve 28, evaluate_plane 6, collect_curve_members 1, make_table 3, make_figure 7"
    ),
}
PLANES = "prepare_dataset 1, train_network 3, train_curve 2, evaluate_plane 3, make_figure 1"
ARTEFACTS = {
    "demo": {
        "garipov2018_table2": (
            "prepare_dataset 3, train_network 8, train_curve 8, evaluate_curve 12, make_table 1"
        ),
        "garipov2018_trivial_path": (
            "prepare_dataset 2, train_network 4, evaluate_curve 2, make_table 1, make_figure 1"
        ),
        "garipov2018_figure3": (
            "prepare_dataset 1, train_network 6, train_curve 3, evaluate_curve 3, make_figure 1"
        ),
    },
    "paper": {
        "garipov2018_table2": (
            "prepare_dataset 5, train_network 14, train_curve 14, evaluate_curve 21, make_table 1"
        ),
        "garipov2018_trivial_path": (
            "prepare_dataset 2, train_network 6, evaluate_curve 3, make_table 1, make_figure 1"
        ),
        "garipov2018_figure3": (
            "prepare_dataset 1, train_network 8, train_curve 4, evaluate_curve 4, make_figure 1"
        ),
    },
    "both": {
        "garipov2018_curve_ensemble": (
            "prepare_dataset 1, train_network 3, evaluate_network 3, train_curve 1, "
            "collect_curve_members 1, make_table 1"
        ),
        "garipov2018_figure1": PLANES,
        "garipov2018_figure2": (
            "prepare_dataset 1, train_network 2, train_curve 2, evaluate_curve 3, "
            "collect_curve_members 1, make_figure 1"
        ),
        "garipov2018_figure4": (
            "prepare_dataset 1, train_network 2, train_curve 1, evaluate_curve 3, make_figure 1"
        ),
        "garipov2018_figure7": PLANES,
        "garipov2018_figure8": PLANES,
    },
}
ROW = "prepare_dataset 1, train_network 2, train_curve 2, evaluate_curve 3, make_table 1"


ROWS = {"demo": "digits_vgg16", "paper": "mnist_fully_connected"}
PATH = "networks/{recipe}/seed7/weights.safetensors"
PATHS = {"demo": PATH.format(recipe="digits_vgg16"), "paper": PATH.format(recipe="cifar10_vgg16")}


class Jobs:
    """The jobs of an empty project at one scale, and which of them a target needs."""

    def __init__(self, project: Project, scale: str, targets: list[str]) -> None:
        options = ["--d3dag", "--config", f"scale={scale}"]
        output = project.make(*targets, options=options)
        (line,) = [line for line in output.splitlines() if line.startswith("{")]
        graph = json.loads(line)
        self.rules = {node["id"]: node["value"]["rule"] for node in graph["nodes"]}
        self.needs: dict[int, set[int]] = {number: set() for number in self.rules}
        for edge in graph["edges"]:
            self.needs[edge["v"]].add(edge["u"])

    def counts(self, target: str) -> dict[str, int]:
        """Return how many jobs of each rule a target needs."""
        (waiting,) = [[number] for number, rule in self.rules.items() if rule == target]
        found: set[int] = set()
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting.extend(self.needs[number])
        return dict(Counter(self.rules[n] for n in found if self.rules[n] in RULES))


@pytest.fixture(scope="session")
def jobs(empty: Project) -> dict[str, Jobs]:
    found = {}
    for scale, row in ROWS.items():
        artefacts = [*ARTEFACTS[scale], *ARTEFACTS["both"], f"garipov2018_table2_{row}"]
        found[scale] = Jobs(empty, scale, ["all", "garipov2018", "datasets", *artefacts])
    return found


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_everything(jobs, scale) -> None:
    assert jobs[scale].counts("all") == named(EVERYTHING[scale])
    assert jobs[scale].counts("garipov2018") == named(EVERYTHING[scale])
    datasets = {"prepare_dataset": jobs[scale].counts("all")["prepare_dataset"]}
    assert jobs[scale].counts("datasets") == datasets


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_dry_run(empty, scale) -> None:
    """As users call it; it counts as the graph does."""
    assert empty.counts(options=["--config", f"scale={scale}"]) == named(EVERYTHING[scale])


@pytest.mark.parametrize(
    ("scale", "artefact"),
    [(scale, artefact) for scale in ROWS for artefact in (*ARTEFACTS[scale], *ARTEFACTS["both"])],
)
def test_an_artefact(jobs, scale, artefact) -> None:
    expected = {**ARTEFACTS[scale], **ARTEFACTS["both"]}[artefact]
    assert jobs[scale].counts(artefact) == named(expected)


def test_every_artefact_is_tested() -> None:
    names = {*ARTEFACTS["demo"], *ARTEFACTS["both"]}
    assert names == {*ARTEFACTS["paper"], *ARTEFACTS["both"]} == set(ArtefactSettings.model_fields)


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_row_of_a_table(jobs, scale) -> None:
    assert jobs[scale].counts(f"garipov2018_table2_{ROWS[scale]}") == named(ROW)


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_path(empty, scale) -> None:
    found = empty.counts(f"results/{scale}/{PATHS[scale]}", options=["--config", f"scale={scale}"])
    assert found == named("prepare_dataset 1, train_network 1")


def test_a_selection(empty) -> None:
    options = ["--config", "select=[garipov2018_table2_digits_vgg16,garipov2018_figure8]"]
    assert empty.counts(options=options) == named(
        "prepare_dataset 1, train_network 3, train_curve 2, evaluate_curve 3, evaluate_plane 3, "
        "make_table 1, make_figure 1"
    )


@pytest.mark.parametrize(
    "target",
    [
        "garipov2018_tabel2",
        "results/demo/figures/garipov2018_table2.png",
        "results/demo/tables/garipov2018_figure1.csv",
        "results/demo/networks/no_such_recipe/seed1/weights.safetensors",
    ],
)
def test_unknown_targets_are_refused(empty, target) -> None:
    finished = empty.run(target, options=["--dry-run"])
    assert finished.returncode != 0
    assert target in finished.stdout
    assert "Traceback" not in finished.stdout


def test_results_can_lie_elsewhere(empty) -> None:
    options = ["--config", "results=/elsewhere/ours"]
    path = "/elsewhere/ours/demo/datasets/digits8.safetensors"
    assert empty.counts(path, options=options) == named("prepare_dataset 1")


def test_mistakes_are_told_at_once_before_any_job(tmp_path) -> None:
    project = Project(tmp_path)
    (tmp_path / "config.yaml").write_text(
        """
recipes:
  digits_vgg16: {training: {lerning_rate: 0.1}}
curves:
  broken: {kind: segment, start: digits_vgg61/1, end: digits_vgg16/2}
"""
    )
    finished = project.run()
    assert finished.returncode == 1
    assert "the config has 2 mistakes" in finished.stdout
    assert "recipes.digits_vgg16.training.lerning_rate" in finished.stdout
    assert "did you mean 'learning_rate'?" in finished.stdout
    assert "did you mean 'digits_vgg16'?" in finished.stdout
    assert "Traceback" not in finished.stdout
    assert not (tmp_path / "results").exists()


def test_an_unknown_scale_is_told(empty) -> None:
    finished = empty.run(options=["--dry-run", "--config", "scale=papr"])
    assert finished.returncode == 1
    assert "found 'papr'; it must be one of demo, paper; did you mean 'paper'?" in finished.stdout
    assert "Traceback" not in finished.stdout


def test_the_config_that_ships_is_the_one_that_is_read(empty) -> None:
    """From any folder: the config is looked up beside the Snakefile."""
    output = empty.make("datasets", options=["--dry-run", "--quiet", "rules"])
    assert str(CHECKOUT / "config.yaml") in output
