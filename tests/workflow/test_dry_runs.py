"""What a run would do, at both scales, with the config as it ships."""

import json
from collections import Counter
from typing import Any

import pytest
from pipeline import CHECKOUT, RULES, Project

from mode_connectivity.config import load_config
from mode_connectivity.reporting.settings import ArtefactSettings
from mode_connectivity.training.settings import minima


def named(counts: str) -> dict[str, int]:
    """Read ``train_network 2, make_table 1``."""
    pairs = (pair.split() for pair in counts.split(","))
    return {name: int(count) for name, count in pairs}


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("empty"))


GARIPOV2018 = {
    "demo": (
        "prepare_dataset 6, train_network 55, evaluate_network 3, train_curve 12, "
        "evaluate_curve 24, evaluate_plane 6, collect_curve_members 1, collect_members 7, "
        "average_weights 3, evaluate_ensemble 10, make_table 6, make_figure 9"
    ),
    "paper": (
        "prepare_dataset 7, train_network 88, evaluate_network 3, train_curve 23, "
        "evaluate_curve 44, evaluate_plane 6, collect_curve_members 1, collect_members 19, "
        "average_weights 7, evaluate_ensemble 26, make_table 6, make_figure 9"
    ),
}
GOTMARE2018 = (
    "prepare_dataset 1, train_network 9, evaluate_network 7, train_curve 14, evaluate_curve 28, "
    "evaluate_curve_snapshots 6, evaluate_plane 2, measure_distances 1, make_table 1, "
    "make_figure 10"
)
BENTON2021 = {
    "demo": (
        "prepare_dataset 7, corrupt_dataset 3, train_network 35, train_curve 2, "
        "train_simplex 24, evaluate_plane 10, evaluate_simplex 22, "
        "evaluate_simplex_ensemble 8, collect_simplex_functions 2, collect_functions 1, "
        "collect_subspace_functions 1, collect_members 4, collect_bend_samples 1, "
        "collect_swag_members 1, average_weights 1, evaluate_ensemble 3, "
        "collect_members_under_corruption 3, collect_averages_under_corruption 3, "
        "collect_swag_members_under_corruption 3, collect_simplex_points_under_corruption 3, "
        "evaluate_ensemble_under_shift 4, make_table 6, make_figure 19"
    ),
    "paper": (
        "prepare_dataset 7, corrupt_dataset 19, train_network 47, train_curve 2, "
        "train_simplex 58, evaluate_plane 10, evaluate_simplex 82, "
        "evaluate_simplex_ensemble 13, collect_simplex_functions 2, collect_functions 1, "
        "collect_subspace_functions 1, collect_members 5, collect_bend_samples 1, "
        "collect_swag_members 1, average_weights 1, evaluate_ensemble 4, "
        "collect_members_under_corruption 19, collect_averages_under_corruption 19, "
        "collect_swag_members_under_corruption 19, "
        "collect_simplex_points_under_corruption 19, evaluate_ensemble_under_shift 4, "
        "make_table 6, make_figure 19"
    ),
}
SHARED = {"demo": "prepare_dataset 5, train_network 11", "paper": "prepare_dataset 4"}
"""Made once for more than one paper: the demo's networks of Garipov et al. are those that the
simplexes of Benton et al. begin with."""
PLANES = "prepare_dataset 1, train_network 3, train_curve 2, evaluate_plane 3, make_figure 1"
CONNECTIONS = (
    "prepare_dataset 1, train_network 7, train_curve 6, evaluate_curve_snapshots 6, make_figure 1"
)
PAIRS = "prepare_dataset 1, train_network 2, train_curve 8, evaluate_curve 16, make_figure 1"
ITERATES = "prepare_dataset 1, train_network 1, train_curve 1, evaluate_plane 1, make_figure 1"
ARTEFACTS = {
    "demo": {
        "garipov2018_table1": (
            "prepare_dataset 2, train_network 36, collect_members 6, average_weights 2, "
            "evaluate_ensemble 8, make_table 1"
        ),
        "garipov2018_table2": (
            "prepare_dataset 3, train_network 8, train_curve 8, evaluate_curve 16, make_table 1"
        ),
        "garipov2018_table3": (
            "prepare_dataset 1, train_network 2, train_curve 2, evaluate_curve 3, make_table 1"
        ),
        "garipov2018_imagenet": (
            "prepare_dataset 1, train_network 6, collect_members 1, average_weights 1, "
            "evaluate_ensemble 2, make_table 1"
        ),
        "garipov2018_trivial_path": (
            "prepare_dataset 2, train_network 4, evaluate_curve 2, make_table 1, make_figure 1"
        ),
        "garipov2018_figure3": (
            "prepare_dataset 1, train_network 6, train_curve 3, evaluate_curve 3, make_figure 1"
        ),
        "garipov2018_figure6": (
            "prepare_dataset 1, train_network 18, collect_members 2, evaluate_ensemble 2, "
            "make_figure 1"
        ),
        "benton2021_figure4": "prepare_dataset 1, train_network 7, train_simplex 2, make_figure 1",
        "benton2021_figure5": (
            "prepare_dataset 1, train_network 2, train_simplex 1, evaluate_simplex 6, make_figure 1"
        ),
        "benton2021_figure_a4a": (
            "prepare_dataset 1, train_network 6, train_simplex 3, make_figure 1"
        ),
        "benton2021_figure8": (
            "prepare_dataset 1, train_network 4, train_simplex 4, evaluate_simplex 8, "
            "evaluate_simplex_ensemble 2, collect_members 1, evaluate_ensemble 1, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure9": (
            "prepare_dataset 1, train_network 3, train_simplex 3, evaluate_simplex 3, "
            "evaluate_simplex_ensemble 1, collect_members 1, evaluate_ensemble 1, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure11": (
            "prepare_dataset 1, corrupt_dataset 3, train_network 6, train_simplex 3, "
            "evaluate_simplex 3, evaluate_simplex_ensemble 1, collect_members 1, "
            "collect_swag_members 1, average_weights 1, collect_members_under_corruption 3, "
            "collect_averages_under_corruption 3, collect_swag_members_under_corruption 3, "
            "collect_simplex_points_under_corruption 3, evaluate_ensemble_under_shift 4, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_c1": (
            "prepare_dataset 1, corrupt_dataset 3, train_network 6, train_simplex 3, "
            "evaluate_simplex 3, evaluate_simplex_ensemble 1, collect_members 1, "
            "collect_swag_members 1, average_weights 1, collect_members_under_corruption 3, "
            "collect_averages_under_corruption 3, collect_swag_members_under_corruption 3, "
            "collect_simplex_points_under_corruption 3, evaluate_ensemble_under_shift 4, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure_a3": (
            "prepare_dataset 1, train_network 1, train_simplex 3, evaluate_simplex 3, "
            "evaluate_simplex_ensemble 3, make_figure 1"
        ),
        "benton2021_figure_a4b": (
            "prepare_dataset 1, train_network 1, train_simplex 1, evaluate_simplex 1, make_figure 1"
        ),
        "benton2021_figure_a6": (
            "prepare_dataset 1, train_network 2, train_simplex 1, evaluate_simplex 2, make_figure 1"
        ),
        "benton2021_figure_a7": (
            "prepare_dataset 1, train_network 4, train_simplex 4, evaluate_simplex 8, "
            "evaluate_simplex_ensemble 2, collect_members 1, evaluate_ensemble 1, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure_a8": (
            "prepare_dataset 1, train_network 2, train_simplex 2, evaluate_simplex 2, "
            "evaluate_simplex_ensemble 1, collect_members 1, evaluate_ensemble 1, "
            "make_figure 1"
        ),
    },
    "paper": {
        # Of each network three from scratch, three of SSE and three or six of FGE.
        "garipov2018_table1": (
            "prepare_dataset 4, train_network 66, collect_members 18, average_weights 6, "
            "evaluate_ensemble 24, make_table 1"
        ),
        "garipov2018_table2": (
            "prepare_dataset 5, train_network 14, train_curve 14, evaluate_curve 28, make_table 1"
        ),
        "garipov2018_table3": (
            "prepare_dataset 1, train_network 6, train_curve 6, evaluate_curve 9, make_table 1"
        ),
        "garipov2018_imagenet": (
            "prepare_dataset 1, train_network 1, collect_members 1, average_weights 1, "
            "evaluate_ensemble 2, make_table 1"
        ),
        "garipov2018_trivial_path": (
            "prepare_dataset 2, train_network 6, evaluate_curve 3, make_table 1, make_figure 1"
        ),
        "garipov2018_figure3": (
            "prepare_dataset 1, train_network 8, train_curve 4, evaluate_curve 4, make_figure 1"
        ),
        "garipov2018_figure6": (
            "prepare_dataset 1, train_network 9, collect_members 2, evaluate_ensemble 2, "
            "make_figure 1"
        ),
        "benton2021_figure4": "prepare_dataset 2, train_network 11, train_simplex 2, make_figure 1",
        "benton2021_figure5": (
            "prepare_dataset 1, train_network 2, train_simplex 1, evaluate_simplex 12, "
            "make_figure 1"
        ),
        "benton2021_figure_a4a": (
            "prepare_dataset 1, train_network 8, train_simplex 4, make_figure 1"
        ),
        "benton2021_figure8": (
            "prepare_dataset 2, train_network 16, train_simplex 16, evaluate_simplex 32, "
            "evaluate_simplex_ensemble 4, collect_members 2, evaluate_ensemble 2, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure9": (
            "prepare_dataset 1, train_network 8, train_simplex 8, evaluate_simplex 16, "
            "evaluate_simplex_ensemble 2, collect_members 1, evaluate_ensemble 1, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure11": (
            "prepare_dataset 1, corrupt_dataset 19, train_network 6, train_simplex 3, "
            "evaluate_simplex 3, evaluate_simplex_ensemble 1, collect_members 1, "
            "collect_swag_members 1, average_weights 1, collect_members_under_corruption 19, "
            "collect_averages_under_corruption 19, collect_swag_members_under_corruption 19, "
            "collect_simplex_points_under_corruption 19, evaluate_ensemble_under_shift 4, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_c1": (
            "prepare_dataset 1, corrupt_dataset 19, train_network 6, train_simplex 3, "
            "evaluate_simplex 3, evaluate_simplex_ensemble 1, collect_members 1, "
            "collect_swag_members 1, average_weights 1, collect_members_under_corruption 19, "
            "collect_averages_under_corruption 19, collect_swag_members_under_corruption 19, "
            "collect_simplex_points_under_corruption 19, evaluate_ensemble_under_shift 4, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure_a3": (
            "prepare_dataset 1, train_network 3, train_simplex 15, evaluate_simplex 15, "
            "evaluate_simplex_ensemble 5, make_figure 1"
        ),
        "benton2021_figure_a4b": (
            "prepare_dataset 1, train_network 8, train_simplex 8, evaluate_simplex 8, make_figure 1"
        ),
        "benton2021_figure_a6": (
            "prepare_dataset 2, train_network 4, train_simplex 2, evaluate_simplex 4, make_figure 1"
        ),
        "benton2021_figure_a7": (
            "prepare_dataset 2, train_network 16, train_simplex 16, evaluate_simplex 32, "
            "evaluate_simplex_ensemble 4, collect_members 2, evaluate_ensemble 2, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure_a8": (
            "prepare_dataset 1, train_network 4, train_simplex 4, evaluate_simplex 4, "
            "evaluate_simplex_ensemble 1, collect_members 1, evaluate_ensemble 1, "
            "make_figure 1"
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
        "garipov2018_figure5": "prepare_dataset 1, train_network 2, make_figure 1",
        "garipov2018_figure7": PLANES,
        "garipov2018_figure8": PLANES,
        "gotmare2018_modes": (
            "prepare_dataset 1, train_network 7, evaluate_network 7, train_curve 6, "
            "evaluate_curve 12, evaluate_curve_snapshots 6, make_table 1"
        ),
        "gotmare2018_figure1": CONNECTIONS,
        # Three pairs of iterates of SGDR, and five of SGD, of one training each.
        "gotmare2018_figure2": PAIRS,
        "gotmare2018_figure3": ITERATES,
        "gotmare2018_figure4": (
            "prepare_dataset 1, train_network 7, train_curve 6, measure_distances 1, make_figure 1"
        ),
        "gotmare2018_figure5": ITERATES,
        "gotmare2018_figure6": ITERATES,
        "gotmare2018_figure7": PAIRS,
        "gotmare2018_figure8": CONNECTIONS,
        "gotmare2018_figure9": CONNECTIONS,
        "gotmare2018_figure10": CONNECTIONS,
        "benton2021_figure2": (
            "prepare_dataset 1, train_network 2, train_curve 1, evaluate_plane 1, "
            "collect_bend_samples 1, make_figure 1"
        ),
        "benton2021_figure3": (
            "prepare_dataset 1, train_network 2, train_simplex 1, evaluate_plane 4, make_figure 1"
        ),
        "benton2021_figure6": (
            "prepare_dataset 1, train_network 1, train_simplex 1, evaluate_plane 4, make_figure 1"
        ),
        "benton2021_figure_a2": "make_figure 1",
        "benton2021_figure7": (
            "prepare_dataset 1, train_network 1, train_simplex 1, "
            "collect_simplex_functions 1, make_figure 1"
        ),
        "benton2021_figure10": (
            "prepare_dataset 1, train_network 7, train_curve 1, train_simplex 5, "
            "collect_simplex_functions 1, collect_functions 1, collect_subspace_functions 1, "
            "make_table 1, make_figure 1"
        ),
        "benton2021_figure_a5": (
            "prepare_dataset 1, train_network 1, train_simplex 1, evaluate_plane 1, make_figure 1"
        ),
    },
}
TABLE2_ROW = "prepare_dataset 1, train_network 2, train_curve 2, evaluate_curve 4, make_table 1"
TABLE3_ROW = "prepare_dataset 1, train_network 2, train_curve 2, evaluate_curve 3, make_table 1"
TABLE1_ROW = (
    "prepare_dataset 1, train_network {}, collect_members 3, average_weights 1, "
    "evaluate_ensemble 4, make_table 1"
)
MODES_ROW = (
    "prepare_dataset 1, train_network 2, evaluate_network 2, train_curve 1, evaluate_curve 2, "
    "evaluate_curve_snapshots 1, make_table 1"
)
ROWS = {
    "demo": {
        "garipov2018_table1_few_digits_3conv3fc": TABLE1_ROW.format(18),
        "garipov2018_table1_few_digits_preresnet8": TABLE1_ROW.format(18),
        "garipov2018_table2_digits_vgg16": TABLE2_ROW,
        "garipov2018_table3_documentation_lstm": TABLE3_ROW,
        "gotmare2018_modes_ga": MODES_ROW,
    },
    "paper": {
        **{
            f"garipov2018_table1_{data}_{network}": TABLE1_ROW.format(networks)
            for data in ("cifar10", "cifar100")
            for network, networks in (("vgg16", 12), ("preresnet110", 9), ("wrn28x10", 12))
        },
        "garipov2018_table2_mnist_fully_connected": TABLE2_ROW,
        "garipov2018_table3_ptb_lstm_medium": TABLE3_ROW,
        "gotmare2018_modes_ga": MODES_ROW,
    },
}
NETWORK = "networks/{}/seed7/weights.safetensors"
PATHS = [
    ("demo", [NETWORK.format("digits_vgg16")], "prepare_dataset 1, train_network 1"),
    ("paper", [NETWORK.format("cifar10_vgg16")], "prepare_dataset 1, train_network 1"),
    # FGE branches off the network of its seed, which is trained once for all branches.
    ("paper", [NETWORK.format("cifar10_vgg16_fge120")], "prepare_dataset 1, train_network 2"),
    (
        "paper",
        [
            NETWORK.format(f"cifar10_vgg16{branch}")
            for branch in ("_fge120", "_fge156", "", "_snapshot")
        ],
        "prepare_dataset 1, train_network 4",
    ),
    (
        "paper",
        ["ensembles/cifar100_wrn28x10_fast_geometric/metrics.csv"],
        "prepare_dataset 1, train_network 9, collect_members 1, evaluate_ensemble 1",
    ),
    (
        "paper",
        ["ensembles/cifar100_wrn28x10_weight_average/metrics.csv"],
        "prepare_dataset 1, train_network 6, average_weights 1, evaluate_ensemble 1",
    ),
]


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
    for scale, rows in ROWS.items():
        artefacts = [*ARTEFACTS[scale], *ARTEFACTS["both"], *rows]
        targets = ["all", "garipov2018", "gotmare2018", "benton2021", "datasets", *artefacts]
        found[scale] = Jobs(empty, scale, targets)
    return found


REPORT = "judge_claims 1, make_report 1"
"""What a run of all that is asked for makes besides."""


def everything(scale: str) -> dict[str, int]:
    """Return the jobs of all papers together."""
    every = Counter(named(GARIPOV2018[scale])) + Counter(named(GOTMARE2018))
    every += Counter(named(BENTON2021[scale]))
    return dict(every - Counter(named(SHARED[scale])))


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_everything(jobs, scale) -> None:
    assert jobs[scale].counts("all") == everything(scale) | named(REPORT)
    assert jobs[scale].counts("garipov2018") == named(GARIPOV2018[scale])
    assert jobs[scale].counts("gotmare2018") == named(GOTMARE2018)
    assert jobs[scale].counts("benton2021") == named(BENTON2021[scale])
    prepared = everything(scale)["prepare_dataset"]
    assert jobs[scale].counts("datasets") == {"prepare_dataset": prepared}


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_dry_run(empty, scale) -> None:
    """As users call it; it counts as the graph does."""
    expected = everything(scale) | named(REPORT)
    assert empty.counts(options=["--config", f"scale={scale}"]) == expected


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


@pytest.mark.parametrize(("scale", "row"), [(scale, row) for scale in ROWS for row in ROWS[scale]])
def test_a_row_of_a_table(jobs, scale, row) -> None:
    assert jobs[scale].counts(row) == named(ROWS[scale][row])


@pytest.mark.parametrize(("scale", "paths", "expected"), PATHS)
def test_paths(empty, scale, paths, expected) -> None:
    targets = [f"results/{scale}/{path}" for path in paths]
    assert empty.counts(*targets, options=["--config", f"scale={scale}"]) == named(expected)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize(
    ("network", "method", "epochs"),
    [
        # Two runs of 22 epochs at one budget, with 22, 12 and, from a single run, 6 members.
        ("vgg16", "fast_geometric", [*range(121, 143, 2), *range(157, 179, 2)]),
        ("wrn28x10", "fast_geometric", [*range(122, 144, 4), *range(158, 180, 4)]),
        ("preresnet110", "fast_geometric", [127, 131, 135, 139, 143, 147]),
        ("vgg16", "snapshot", [40, 80, 120, 160, 200]),
        ("wrn28x10", "snapshot", [40, 80, 120, 160, 200]),
        ("preresnet110", "snapshot", [37, 74, 111, 150]),
        ("vgg16", "independent", [200]),
    ],
)
def test_members_are_those_of_the_paper(dataset, network, method, epochs) -> None:
    config = load_config({"scale": "paper"}, CHECKOUT)
    name = f"{dataset}_{network}_{method}"
    found: dict[int, list[int]] = {}
    for member in config.members(name):
        own = member.epoch or config.recipes[member.recipe].training.epochs
        before = config.epochs_before(member.recipe)
        found.setdefault(member.seed, []).append(before + own)
    assert found == dict.fromkeys([1, 2, 3], epochs)


def leaves(content: dict[str, Any], *before: str) -> dict[str, Any]:
    """Return the values of nested blocks by their dotted paths."""
    found = {}
    for key, value in content.items():
        path = (*before, key)
        found.update(leaves(value, *path) if isinstance(value, dict) else {".".join(path): value})
    return found


STEP = ("training.schedule.milestones", "training.schedule.factor")


@pytest.mark.parametrize(("scale", "large_batch"), [("demo", 90), ("paper", 4000)])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("large_batch", {"training.batch_size": None}),
        # Adam's own learning rate, and as it is said with its optimiser; momentum does not apply.
        ("adam", {"training.learning_rate": 0.001, "training.optimiser.name": "adam"}),
        ("linear_decay", {"training.schedule.name": "linear"}),
        ("small_weight_decay", {"training.optimiser.weight_decay": 5e-6}),
        ("large_initialisation", {"initialisation.scale": 3.0}),
        ("no_augmentation", {"training.augmentation.transforms": []}),
    ],
)
def test_each_mode_differs_from_the_first_in_one_setting(
    scale, large_batch, mode, expected
) -> None:
    recipes = load_config({"scale": scale}, CHECKOUT).recipes
    first, other = (
        leaves(recipes[name].model_dump()) for name in ("modes_vgg16", f"modes_vgg16_{mode}")
    )
    differing = {key: other.get(key) for key in first | other if first.get(key) != other.get(key)}
    if mode == "large_batch":
        expected = {"training.batch_size": large_batch}
    if mode == "linear_decay":
        # It has no milestones, and ends at zero.
        assert [differing.pop(key) for key in STEP] == [None, None]
        assert differing.pop("training.schedule.final") == 0.0
    assert differing == expected


def test_the_trainings_of_gotmare_are_those_of_the_paper() -> None:
    config = load_config({"scale": "paper"}, CHECKOUT)
    first = config.recipes["modes_vgg16"]
    assert (first.dataset, first.network.name) == ("cifar10_vgg", "vgg16_batch_norm")
    assert (first.initialisation.scheme, first.initialisation.scale) == ("fan_in", 1.0)
    training = first.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (200, 100, 0.05)
    assert training.schedule.model_dump()["milestones"] == [60, 120, 160]
    assert training.schedule.model_dump()["factor"] == 0.2
    optimiser = training.optimiser
    assert (optimiser.name, optimiser.momentum, optimiser.weight_decay) == ("sgd", 0.9, 5e-4)
    assert training.augmentation.transforms == ["crop"]
    sgdr = config.recipes["sgdr_vgg16"].training
    assert list(minima(sgdr.schedule, sgdr.epochs)) == [10, 30, 70, 150]
    assert sgdr.schedule.model_dump()["minimum"] == 1e-6
    assert sgdr.snapshot_epochs == list(range(1, 151))
    step = config.recipes["step_vgg16"].training
    assert step.schedule.model_dump()["milestones"] == [60, 150]
    for name in ("sgdr_vgg16", "step_vgg16"):
        training = config.recipes[name].training
        assert (training.batch_size, training.learning_rate) == (100, 0.05)
        assert training.record_test
    ends = {
        (curve.start, curve.end, curve.points)
        for name, curve in config.curves.items()
        if name.startswith(("sgdr_", "step_"))
    }
    pairs = [(30, 70), (70, 150), (30, 150)], [(55, 65), (145, 155), (55, 155), (145, 165)]
    assert ends == {
        *((f"sgdr_vgg16/1@{start}", f"sgdr_vgg16/1@{end}", 61) for start, end in pairs[0]),
        *((f"step_vgg16/1@{start}", f"step_vgg16/1@{end}", 61) for start, end in pairs[1]),
        ("step_vgg16/1@55", "step_vgg16/1@165", 61),
    }
    assert [config.planes[name].iterates for name in ("sgdr_70_150", "sgdr_30_70")] == [
        "sgdr_vgg16/1",
        "sgdr_vgg16/1",
    ]
    chain = config.curves["modes_ga"]
    assert chain.training is not None
    assert (chain.kind, chain.bends, chain.training.snapshot_epochs) == (
        "polychain",
        1,
        [20, 40, 60, 80],
    )


def test_a_selection(empty) -> None:
    options = ["--config", "select=[garipov2018_table2_digits_vgg16,garipov2018_figure8]"]
    assert empty.counts(options=options) == named(
        "prepare_dataset 1, train_network 3, train_curve 2, evaluate_curve 4, evaluate_plane 3, "
        f"make_table 1, make_figure 1, {REPORT}"
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
