"""What planned jobs cost: network evaluations and, where earlier trainings tell it, seconds.

A network evaluation is the forward pass of one example, a word in a text. A training step's
forward and backward pass count as three, as a backward pass costs about two forward passes.
Counts are bounds from above: a job that resumes does less, and a point of a curve or a plane is
charged with the pass over the training set that re-estimates batch-norm statistics, unless its
network is known to have none.

Nothing here imports torch: Snakemake counts before the first job starts.
"""

import csv
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mode_connectivity import layout
from mode_connectivity.config import Config
from mode_connectivity.data.corruption_settings import SEVERITIES
from mode_connectivity.data.settings import (
    AnyDataset,
    DatasetSettings,
    RegressionSettings,
    TwoSpiralsSettings,
)
from mode_connectivity.ensembling.settings import (
    CurveEnsembleSettings,
    NetworkEnsembleSettings,
    SimplexEnsembleSettings,
    SubspaceEnsembleSettings,
    SwagEnsembleSettings,
    SwagSettings,
)
from mode_connectivity.files import canonical_json
from mode_connectivity.training.recipes import CurveSettings, RecipeSettings

STEP = 3
"""Evaluations of a training step on one example."""
LIKELIHOODS = 10
"""Of a sample by elliptical slice sampling: no bound, but more than it takes on average."""
WITHOUT_BATCH_NORM = (
    "fully_connected",
    "lenet5",
    "lstm",
    "regression_mlp",
    "three_conv_three_fc",
    "vgg16",
    "vision_transformer",
    "vit_b_16",
)
"""Networks at whose points no statistics are re-estimated."""

HISTORIES = 8
"""Of trainings that are alike, from which their speed is taken; more would say the same."""

_DIGITS = 1_797
_PUBLISHED = {
    "mnist": {"train": 60_000, "test": 10_000},
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "imagenet": {"train": 1_281_167, "test": 50_000},
    "ptb": {"train": 929_589, "validation": 73_760, "test": 82_430},
}
"""Examples of a source by part; of texts, tokens."""

_PARTS = ("train", "validation", "test")

_LONGEST_HEADER = 100_000_000
"""Bytes, the limit of the safetensors format."""

Sizes = Mapping[str, int]
"""Examples by part of a data set."""


@dataclass(frozen=True)
class Cost:
    """What one job costs, at most.

    Attributes:
        evaluations: forward passes of one example; nothing if the size of the data set is unknown.
        seconds: of work; nothing if no training of such a network has left its speed.
    """

    evaluations: int | None
    seconds: float | None


@dataclass(frozen=True)
class Total:
    """What several jobs cost.

    Attributes:
        jobs: how many they are.
        evaluations: of those jobs whose evaluations are known, together.
        counted: how many these are.
        seconds: of those jobs whose seconds are known, one after the other.
        timed: how many these are.
    """

    jobs: int
    evaluations: int
    counted: int
    seconds: float
    timed: int


class Costs:
    """What jobs cost; the speeds of earlier trainings are looked up once.

    Args:
        config: the config.
        results: the folder of the scale's results.
    """

    def __init__(self, config: Config, results: Path) -> None:
        self._config = config
        self._results = results
        self._speeds: dict[str, float | None] = {}

    def of_job(self, rule: str, wildcards: Mapping[str, str]) -> Cost:
        """Estimate the cost of a job.

        Seconds are those of a training of the same network on the same data, by the median speed in
        the histories that lie below ``results``; the evaluations of a measurement are taken to be
        as fast as a third of a training step, which is only about right.

        Args:
            rule: the job's rule; those that evaluate no network cost nothing.
            wildcards: the job's.
        """
        if rule == "measure_distances":
            # It reads networks and runs none.
            return Cost(0, 0.0)
        config = self._config
        recipe = recipe_of_job(config, rule, wildcards)
        if recipe is None:
            return Cost(0, 0.0)
        sizes = dataset_sizes(config.datasets[recipe.dataset], recipe.dataset, self._results)
        if sizes is None:
            return Cost(None, None)
        evaluations = _evaluations(config, rule, wildcards, recipe, sizes)
        speed = self._images_per_second(recipe)
        return Cost(evaluations, None if speed is None else evaluations / (STEP * speed))

    def _images_per_second(self, recipe: RecipeSettings) -> float | None:
        """Return the median speed of the trainings that are most like a recipe's, if there are.

        Of its own, of others with its network and data, of their curves.
        """
        trained = _trained(self._config, recipe)
        for alike in (recipe.model_dump_json(), trained, f"curves of {trained}"):
            if alike not in self._speeds:
                self._speeds[alike] = _median_speed(self._trainings[alike])
            if (speed := self._speeds[alike]) is not None:
                return speed
        return None

    @cached_property
    def _trainings(self) -> Mapping[str, list[Path]]:
        """Patterns of the folders of trainings, by what these have in common."""
        folders = defaultdict(list)
        for name, recipe in self._config.recipes.items():
            for alike in (recipe.model_dump_json(), _trained(self._config, recipe)):
                folders[alike].append(self._results / layout.network(name, "*"))
        for name in self._config.curves:
            trained = _trained(self._config, self._config.recipe_of_curve(name))
            folders[f"curves of {trained}"].append(self._results / layout.curve(name))
        return folders


def job_cost(config: Config, rule: str, wildcards: Mapping[str, str], results: Path) -> Cost:
    """Estimate the cost of one job, see `Costs`."""
    return Costs(config, results).of_job(rule, wildcards)


def recipe_of_job(config: Config, rule: str, wildcards: Mapping[str, str]) -> RecipeSettings | None:
    """Return the recipe of the network that a job works on, if it works on one."""
    match rule:
        case "train_network" | "evaluate_network":
            return config.recipes[wildcards["recipe"]]
        case "train_curve" | "evaluate_curve" | "evaluate_curve_snapshots":
            return config.recipe_of_curve(wildcards["curve"])
        case "train_simplex" | "evaluate_simplex":
            return config.recipe_of_simplex(wildcards["simplex"])
        case "evaluate_plane":
            return config.recipe_of_plane(wildcards["plane"])
        case "measure_distances":
            return config.recipe_of_geometry(wildcards["geometry"])
        case (
            "collect_curve_members"
            | "collect_members"
            | "collect_functions"
            | "collect_swag_members"
            | "collect_bend_samples"
            | "collect_subspace_members"
            | "collect_subspace_functions"
            | "collect_simplex_functions"
            | "average_weights"
            | "collect_members_under_corruption"
            | "collect_averages_under_corruption"
            | "collect_swag_members_under_corruption"
            | "collect_simplex_points_under_corruption"
        ):
            return config.recipe_of_ensemble(wildcards["ensemble"])
    return None


def _evaluations(
    config: Config,
    rule: str,
    wildcards: Mapping[str, str],
    recipe: RecipeSettings,
    sizes: Sizes,
) -> int:
    everything = sum(sizes.values())
    statistics_pass = 0 if recipe.network.name in WITHOUT_BATCH_NORM else sizes["train"]
    match rule:
        case "train_network":
            training = recipe.training
            recorded = training.records_per_epoch * sizes["test"] if training.record_test else 0
            return training.epochs * (STEP * sizes["train"] + recorded)
        case "train_curve":
            curve = config.curves[wildcards["curve"]]
            assert curve.training is not None
            trained = curve.training.epochs * STEP * sizes["train"]
            return trained + _matched_examples(curve, sizes)
        case "collect_simplex_functions":
            of_simplex = config.ensembles[wildcards["ensemble"]]
            assert isinstance(of_simplex, SimplexEnsembleSettings)
            members = config.simplexes[of_simplex.simplex].points * len(of_simplex.seeds)
            return members * (statistics_pass + sizes["test"])
        case "train_simplex":
            simplex = config.simplexes[wildcards["simplex"]]
            steps = simplex.connectors * simplex.training.epochs * simplex.samples
            return steps * STEP * sizes["train"]
        case "evaluate_simplex":
            simplex = config.simplexes[wildcards["simplex"]]
            measured = everything if simplex.measure_train else sizes["test"]
            if wildcards["connectors"] == "0":
                return len(simplex.modes) * measured
            return simplex.points * (statistics_pass + measured)
        case "evaluate_network":
            return everything
        case "evaluate_curve":
            curve = config.curves[wildcards["curve"]]
            return _points_of_curve(curve, curve.points, statistics_pass, sizes)
        case "evaluate_curve_snapshots":
            curve = config.curves[wildcards["curve"]]
            assert curve.training is not None
            points = curve.points * len(curve.training.snapshot_epochs)
        case "evaluate_plane":
            points = config.planes[wildcards["plane"]].points ** 2
        case "collect_curve_members":
            ensemble = config.ensembles[wildcards["ensemble"]]
            assert isinstance(ensemble, CurveEnsembleSettings)
            curve = config.curves[ensemble.curve]
            return _points_of_curve(curve, ensemble.points, statistics_pass, sizes)
        case "collect_subspace_members" | "collect_subspace_functions":
            subspace = config.ensembles[wildcards["ensemble"]]
            assert isinstance(subspace, SubspaceEnsembleSettings)
            likelihood = statistics_pass + sizes["train"]
            return subspace.samples * (LIKELIHOODS * likelihood + sizes["test"])
        case "collect_bend_samples":
            bend = config.ensembles[wildcards["ensemble"]]
            assert isinstance(bend, SwagSettings)
            points = bend.samples
        case "collect_swag_members":
            swag = config.ensembles[wildcards["ensemble"]]
            assert isinstance(swag, SwagEnsembleSettings)
            return len([*swag.trainings]) * swag.samples * (statistics_pass + sizes["test"])
        case "collect_members" | "collect_functions":
            return len(config.members(wildcards["ensemble"])) * sizes["test"]
        case _ if rule.endswith("_under_corruption"):
            members, anew = _corrupted_members(config, wildcards["ensemble"])
            data = config.datasets[recipe.dataset]
            assert isinstance(data, DatasetSettings)
            examples = min(data.corruptions.examples or sizes["test"], sizes["test"])
            return members * (anew * statistics_pass + len(SEVERITIES) * examples)
        case "average_weights":
            ensemble = config.ensembles[wildcards["ensemble"]]
            assert isinstance(ensemble, NetworkEnsembleSettings)
            return len([*ensemble.trainings]) * (statistics_pass + sizes["test"])
    return points * (statistics_pass + everything)


def _points_of_curve(curve: CurveSettings, points: int, statistics_pass: int, sizes: Sizes) -> int:
    """Return the evaluations of measuring points of a curve, once it is there."""
    before = 0 if curve.trained else _matched_examples(curve, sizes)
    if curve.renormalise:
        # Statistics are measured at the two ends and at every point, with batch norm or without.
        statistics_pass = sizes["train"]
        before += 2 * statistics_pass
    return before + points * (statistics_pass + sum(sizes.values()))


def _matched_examples(curve: CurveSettings, sizes: Sizes) -> int:
    """Return the evaluations by which the units of two networks are matched."""
    if curve.alignment is None or curve.alignment.matching == "weights":
        return 0
    return 2 * min(curve.alignment.examples, sizes["train"])


def _corrupted_members(config: Config, name: str) -> tuple[int, bool]:
    """Return how many members an ensemble has, and whether their statistics are taken anew."""
    ensemble = config.ensembles[name]
    match ensemble:
        case SwagEnsembleSettings():
            return len([*ensemble.trainings]) * ensemble.samples, True
        case SimplexEnsembleSettings():
            simplex = config.simplexes[ensemble.simplex]
            points = ensemble.points or simplex.points
            if not ensemble.connectors:
                points = len(simplex.modes)
            return len(ensemble.seeds) * points, ensemble.connectors > 0
        case NetworkEnsembleSettings(method="weight_average"):
            return len([*ensemble.trainings]), False
    return len(config.members(name)), False


def dataset_sizes(settings: AnyDataset, name: str, results: Path) -> Sizes | None:
    """Return the examples of each part of a data set, or nothing where they are unknown.

    Args:
        settings: the data set's.
        name: its name.
        results: the folder that may hold it prepared; if not, its size is the published one.
    """
    prepared = _prepared_sizes(safetensors_header(results / layout.dataset(name)))
    if prepared is not None:
        return prepared
    if settings.source == "digits":
        # As scikit-learn splits: the test set is rounded up.
        test = math.ceil(settings.test_fraction * _DIGITS)
        published = {"train": _DIGITS - test, "test": test}
    elif isinstance(settings, TwoSpiralsSettings):
        published = {"train": 2 * settings.train_per_class, "test": 2 * settings.test_per_class}
    elif isinstance(settings, RegressionSettings):
        published = dict.fromkeys(("train", "test"), sum(settings.counts))
    elif settings.source in _PUBLISHED:
        published = _PUBLISHED[settings.source]
    else:
        return None
    if isinstance(settings, DatasetSettings):
        if held_out := settings.validation:
            published = {"train": published["train"] - held_out, "test": held_out}
        if settings.training_images is not None:
            return published | {"train": settings.training_images}
    return published


def safetensors_header(path: Path) -> Mapping[str, Any]:
    """Read the header of a safetensors file: tensors by name, metadata; empty where it has none.

    The safetensors library would load numpy, and the tensors are not needed.
    """
    try:
        return _header(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@cache
def _header(path: Path, _written: int) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def _prepared_sizes(header: Mapping[str, Any]) -> Sizes | None:
    """Return the sizes in the header of a prepared file, where it is that of one."""
    sizes = {}
    try:
        for tensor, description in header.items():
            part, _, kind = tensor.rpartition("_")
            if part in _PARTS and kind in ("labels", "tokens", "targets"):
                sizes[part] = int(description["shape"][0])
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return sizes if {"train", "test"} <= set(sizes) else None


def _median_speed(folders: Iterable[Path]) -> float | None:
    """Return the median speed of the first trainings in folders that match patterns."""
    found = (path for folder in folders for path in sorted(folder.parent.glob(folder.name)))
    histories = filter(None, (_speeds_in(path / "history.csv") for path in found))
    speeds = [speed for history in islice(histories, HISTORIES) for speed in history]
    return statistics.median(speeds) if speeds else None


def _speeds_in(path: Path) -> list[float]:
    try:
        return _speeds(path, path.stat().st_mtime_ns)
    except OSError:
        return []


def _trained(config: Config, recipe: RecipeSettings) -> str:
    """Return what the speed of a training depends on: a network, as written, and its images."""
    data = config.datasets[recipe.dataset]
    images = [data.source, getattr(data, "folder", None), getattr(data, "image_size", None)]
    return canonical_json([recipe.network.model_dump(mode="json"), *images])


@cache
def _speeds(path: Path, _written: int) -> list[float]:
    """Return the speeds in a history; those of an unreadable one, or of a bad row, are left out."""
    speeds = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            column = next(rows, []).index("images_per_second")
            for row in rows:
                try:
                    speed = float(row[column])
                except (ValueError, IndexError):
                    continue
                if 0.0 < speed < math.inf:
                    speeds.append(speed)
    except (OSError, ValueError, csv.Error):
        return []
    return speeds


def total(costs: Iterable[Cost]) -> Total:
    """Add up the costs of jobs, and count those of which something is unknown."""
    every = list(costs)
    evaluations = [cost.evaluations for cost in every if cost.evaluations is not None]
    seconds = [cost.seconds for cost in every if cost.seconds is not None]
    return Total(len(every), sum(evaluations), len(evaluations), sum(seconds), len(seconds))


def report(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Return a table of costs by rule, dearest first, and what its numbers mean.

    Rules that evaluate no network are left out; without any other the report is empty.

    Args:
        costs: of the jobs, by rule.
    """
    totals = {
        rule: total(jobs)
        for rule, jobs in costs.items()
        if any(job.evaluations != 0 for job in jobs)
    }
    if not totals:
        return ""
    overall = total(job for rule in totals for job in costs[rule])
    # What is unknown may be the most.
    rules = sorted(
        totals.items(),
        key=lambda pair: (pair[1].counted < pair[1].jobs, pair[1].evaluations),
        reverse=True,
    )
    rows = [("rule", "jobs", "evaluations", "time, one job at a time")]
    for name, cost in [*rules, ("total", overall)]:
        rows.append((name, str(cost.jobs), evaluations_in_words(cost), time_in_words(cost)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {jobs:>{widths[1]}}  {evaluations:>{widths[2]}}  {time}"
        for name, jobs, evaluations, time in rows
    ]
    return "\n".join(
        [
            "Estimated cost, at most:",
            *lines,
            "Evaluations: forward passes of one example (of a text, one word); a training step "
            "counts as three.",
            *_provenance(overall),
            "Jobs that evaluate no network are left out.",
        ]
    )


def _provenance(overall: Total) -> list[str]:
    """Return where the seconds of some jobs come from."""
    if not overall.timed:
        return ["Time: unknown, as there is no history of a training of these networks yet."]
    others = "" if overall.timed == overall.jobs else "; that of the others is unknown"
    return [
        f"Time: measured, {overall.timed} of {overall.jobs} jobs have a history of the same "
        f"network{others}.",
        "It is about right on the device of that history, and without the start of each job.",
    ]


def evaluations_in_words(cost: Total) -> str:
    """Return the evaluations of several jobs, and of how many they are known."""
    return _known(_number(cost.evaluations), cost.counted, cost.jobs)


def time_in_words(cost: Total) -> str:
    """Return the time of several jobs, and of how many it is known."""
    return _known(duration(cost.seconds), cost.timed, cost.jobs)


def _known(text: str, known: int, jobs: int) -> str:
    if known == jobs:
        return text
    return f"{text} for {known} of {jobs}" if known else "unknown"


def _number(value: int) -> str:
    if value < 1_000_000:
        return f"{value:,}"
    mantissa, _, exponent = f"{value:.2e}".partition("e+")
    return f"{mantissa}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, rounded up."""
    if seconds <= 59:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days:,} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def announcement(config: Config, workflow: Any, results: Path, *, dry_run: bool) -> str:
    """Return the report of what a workflow is about to do, or nothing where none is wanted.

    That is in the processes of jobs, which read the same Snakefile, when files are only touched,
    and where the user wants neither progress nor plans (``--quiet``).

    Args:
        config: the config.
        workflow: Snakemake's, with its plan made.
        results: the folder of the scale's results.
        dry_run: whether the plan of a dry run is meant, or that of a real one.
    """
    # Snakemake promises none of these attributes, nor what they return. Without them there is no
    # estimate; a run must not fail for want of it.
    try:
        quiet = {choice.name for choice in workflow.output_settings.quiet or ()}
        if (
            not workflow.is_main_process
            or workflow.dryrun != dry_run
            or workflow.touch
            or quiet & {"ALL", "PROGRESS"}
            or workflow.dag is None
        ):
            return ""
        of_jobs = Costs(config, results)
        costs = defaultdict(list)
        for job in workflow.dag.needrun_jobs(exclude_finished=False):
            rule, wildcards = job.rule.name, dict(job.wildcards.items())
            costs[rule].append(of_jobs.of_job(rule, wildcards))
        return report(costs)
    except Exception:
        return ""
