"""From stored results to the files of one artefact: what each table and figure is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import TypeAdapter

from mode_connectivity import layout
from mode_connectivity.data.corruption_settings import SEVERITIES
from mode_connectivity.ensembling.predictions import (
    StoredPredictions,
    ensemble_probabilities,
    negative_log_likelihood,
    open_tensors,
)
from mode_connectivity.own_functions import load_function
from mode_connectivity.reporting import ensemble_tables, language_models, sampling, tables
from mode_connectivity.reporting.component_tables import (
    COMPONENT_LAYOUTS,
    EvaluatedComponents,
    RegularisedSimplexes,
    SampledMembers,
    component_table,
    regularisation_table,
    sample_errors,
)
from mode_connectivity.reporting.curve_titles import curve_note, curve_title
from mode_connectivity.reporting.ensemble_tables import (
    METHOD_TITLES,
    EvaluatedMethod,
    FinetunedNetwork,
)
from mode_connectivity.reporting.figures import benton2021 as benton
from mode_connectivity.reporting.figures import ensembles as ensemble_figures
from mode_connectivity.reporting.figures import garipov2018 as figures
from mode_connectivity.reporting.figures import gotmare2018 as gotmare
from mode_connectivity.reporting.figures.complexes import (
    TrainedComplex,
    benton2021_figure3,
    benton2021_figure4,
    benton2021_figure5,
    benton2021_figure6,
    benton2021_figure_a2,
    benton2021_figure_a4a,
)
from mode_connectivity.reporting.figures.components import (
    benton2021_figure8,
    benton2021_figure_a3,
    benton2021_figure_a4b,
    benton2021_figure_a5,
    benton2021_figure_a7,
)
from mode_connectivity.reporting.figures.files import save
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.reporting.figures.shift import benton2021_c1, benton2021_figure11
from mode_connectivity.reporting.figures.small_problems import (
    benton2021_figure7,
    benton2021_figure10,
)
from mode_connectivity.reporting.functions import (
    FUNCTION_LAYOUTS,
    EvaluatedFunctions,
    FunctionSamples,
    benton2021_figure10_table,
)
from mode_connectivity.reporting.gotmare2018_tables import (
    MODES_LAYOUT,
    EvaluatedConnection,
    EvaluatedMode,
    gotmare2018_modes,
)
from mode_connectivity.reporting.published import Pair, load_published
from mode_connectivity.reporting.rendering import Layout, write_table
from mode_connectivity.reporting.settings import FIGURE_PARTS, artefact_base
from mode_connectivity.reporting.shift_tables import SHIFT_LAYOUTS, read_shift, shift_table
from mode_connectivity.reporting.style import styled
from mode_connectivity.reporting.summaries import read_correct
from mode_connectivity.reporting.tables import EvaluatedCurve, EvaluatedEnsemble
from mode_connectivity.reporting.temperature import (
    curve_ensemble,
    logit_scales,
    two_network_errors,
)
from mode_connectivity.settings import UserError, nearest
from mode_connectivity.training.recipes import NetworkReference
from mode_connectivity.training.schedules import learning_rate
from mode_connectivity.training.settings import AnySchedule
from mode_connectivity.training.simplex_settings import ComplexReference

Content = Mapping[str, Any]
Drawing = tuple[Figure, pd.DataFrame]


@dataclass(frozen=True)
class Results:
    """The results of a scale, read by the names of the config.

    A figure of the user's own is given them. Only what the settings of the artefact name can be
    read: whatever else there is may be of another day.

    Attributes:
        root: the folder ``results/{scale}``.
        content: settings of an artefact and, by section of the config and by name, the facts of
            what it shows.
    """

    root: Path
    content: Content

    @property
    def settings(self) -> Mapping[str, Any]:
        """The artefact's own settings."""
        return dict(self.content["settings"])

    def _facts(self, name: str, *sections: str) -> Mapping[str, Any]:
        """Return the facts of a part that the settings of the artefact name in some section."""
        # Of a name in several sections the facts of the first one count.
        parts = (self.content.get(section, {}) for section in reversed(sections))
        known = {part: facts for of_section in parts for part, facts in of_section.items()}
        if name not in known:
            raise UserError(
                f"{name!r} is not among the {sections[0]} that are shown: "
                f"{', '.join(known) or 'none'}{nearest(name, known)}; name it in the config"
            )
        facts: Mapping[str, Any] = known[name]
        return facts

    def curve_grid(self, name: str) -> pd.DataFrame:
        """Return the grid of a curve."""
        return _read(self._curve(name) / "grid.csv")

    def _curve(self, name: str, section: str = "curves") -> Path:
        self._facts(name, section)
        return self.root / layout.curve(name)

    def members(self, name: str) -> pd.DataFrame:
        """Return the members of an ensemble."""
        return _read(self._ensemble(name) / "members.csv")

    def scores(self, name: str) -> pd.DataFrame:
        """Return the scores of an ensemble at each budget, one row a run."""
        return _read(self._ensemble(name) / "metrics.csv")

    def _ensemble(self, name: str) -> Path:
        self._facts(name, "ensembles", "functions")
        return self.root / layout.ensemble(name)

    def curve(self, name: str) -> EvaluatedCurve:
        """Return a curve with its titles and the correctness of every test example."""
        facts = self._facts(name, "curves")
        change = {key: facts[key] for key in ("matching", "renormalise") if key in facts}
        grid = self.curve_grid(name)
        return EvaluatedCurve(
            dataset=facts["dataset"],
            network=facts["network"],
            curve=curve_title(facts["kind"], **change),
            grid=grid,
            endpoint_distance=float(grid["distance"].iloc[-1]),
            correct=read_correct(self._curve(name) / "correct.safetensors"),
            note=curve_note(**change),
        )

    def plane(self, name: str, title: str = "") -> Plane:
        """Return a plane under a title."""
        self._facts(name, "planes")
        folder = self.root / layout.plane(name)
        return Plane(title, _read(folder / "grid.csv"), _read(folder / "points.csv"))

    def volumes(self, text: str) -> pd.DataFrame:
        """Return the volumes of a complex, simplex/seed, by its number of connectors."""
        self._facts(text, "complexes")
        return _read(self._complex(text) / "volumes.csv")

    def distances(self, text: str) -> pd.DataFrame:
        """Return the distances of the vertices of a complex, simplex/seed, from each other."""
        self._facts(text, "complexes")
        return _read(self._complex(text) / "distances.csv")

    def samples(self, text: str) -> pd.DataFrame:
        """Return the grid of the points drawn from a complex, simplex/seed/connectors."""
        self._facts(text, "samples")
        name, _, connectors = text.rpartition("/")
        return _read(self._complex(name) / f"connectors{connectors}" / "grid.csv")

    def _complex(self, text: str) -> Path:
        reference = ComplexReference.parse(text)
        assert reference is not None
        return self.root / layout.simplex(reference.simplex, reference.seed)

    def curve_predictions(self, name: str) -> StoredPredictions:
        """Return the test predictions along a curve."""
        path = self._curve(name) / "predictions.safetensors"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; set predictions: true for the curve {name!r} in the config"
            )
        return StoredPredictions(path)

    def member_predictions(self, name: str) -> StoredPredictions:
        """Return the test predictions of an ensemble's members."""
        return StoredPredictions(self._ensemble(name) / "predictions.safetensors")

    def functions(self, name: str, *, regression: bool) -> FunctionSamples:
        """Return an ensemble's members as functions of their inputs."""
        path = self._ensemble(name) / "function_values.safetensors"
        return FunctionSamples.read(path, regression=regression)

    def network_predictions(self, text: str) -> StoredPredictions:
        """Return the test predictions of a network."""
        return StoredPredictions(self._network(text) / "evaluation" / "predictions.safetensors")

    def ensemble(self, name: str, method: str | None = None) -> EvaluatedMethod:
        """Return the ensembles of a method at every budget.

        Args:
            name: of the ensemble.
            method: what it is called; as in Table 1 of Garipov et al. 2018 if left out.
        """
        facts = self._facts(name, "ensembles")
        return ensemble_tables.read_method(
            facts["dataset"],
            facts["network"],
            method or METHOD_TITLES[facts["method"]],
            self.root / layout.ensemble(name),
        )

    def training_seconds(self, name: str) -> dict[int, float]:
        """Return how long all trainings behind an ensemble's members took, by seed."""
        return {
            int(seed): sum(map(self._seconds, trainings))
            for seed, trainings in self.content["trainings"][name]["seeds"].items()
        }

    def _seconds(self, training: Mapping[str, Any]) -> float:
        """Return how long a training took, or its part up to an epoch or a connector."""
        if training["folder"] is None:
            return float("nan")
        history = _read(self.root / training["folder"] / "history.csv")
        if training["last"] is not None:
            history = history[history[training["counted"]] <= training["last"]]
        return float(history["seconds"].sum())

    def sampled_members(self, name: str, method: str) -> SampledMembers:
        """Return the members of an ensemble, by component, under a label."""
        facts = self.content["predictions"][name]
        files = map(StoredPredictions, (self.root / path for path in facts["files"]))
        limit = facts.get("points")
        counts = ((file, len(file) if limit is None else limit) for file in files)
        return SampledMembers(facts["dataset"], facts["network"], method, list(counts))

    def curve_snapshots(self, name: str) -> pd.DataFrame:
        """Return the grids of a curve at the snapshots of its training."""
        return _read(self._curve(name, "snapshots") / "snapshots.csv")

    def metrics(self, text: str) -> pd.DataFrame:
        """Return the one row of measurements of a network."""
        return _read(self._network(text) / "evaluation" / "metrics.csv")

    def network_correct(self, text: str) -> NDArray[np.bool_]:
        """Return which test examples a network classifies correctly, [1, N]."""
        return read_correct(self._network(text) / "evaluation" / "correct.safetensors")

    def _network(self, text: str, section: str = "networks") -> Path:
        self._facts(text, section)
        reference = NetworkReference.parse(text)
        return self.root / layout.network(reference.recipe, reference.seed)

    def history(self, text: str) -> pd.DataFrame:
        """Return the history of a network's training."""
        return _read(self._network(text, "histories") / "history.csv")

    def counterparts(self) -> dict[Pair, Pair]:
        """Return the published rows that rows of ours stand beside, where the config names them."""
        named = {}
        for row in self.settings["rows"].values():
            if "components" in row:
                facts = self.content["ensembles"][next(iter(row["components"].values()))]
            else:
                section = "ensembles" if "ensembles" in row else "curves"
                facts = self.content[section][row[section][0]]
            if row["published_as"] is not None:
                ours = (facts["dataset"], facts["network"])
                named[ours] = (row["published_as"]["dataset"], row["published_as"]["network"])
        return named

    def title(self, name: str, section: str | None = None) -> str:
        """Return a line that names the network and the data set of a part of the artefact.

        Args:
            name: of the part.
            section: in which it stands, by its key in a figure of the user's own; the first that
                has such a part if left out.
        """
        named = FIGURE_PARTS if section is None else [section]
        facts = self._facts(name, *(FIGURE_PARTS.get(each, each) for each in named))
        return f"{facts['network']}, {facts['dataset']}"


def make_table(artefact: str, content: Content, root: Path, stem: Path) -> None:
    """Write a table as CSV, Markdown and LaTeX.

    Args:
        artefact: its name, or that of one of its rows.
        content: its settings, and the titles of what it shows.
        root: the results of the scale.
        stem: path of the files without suffix.
    """
    base = artefact_base(artefact)
    write_table(TABLES[base](Results(root, content)), LAYOUTS[base], stem)


def make_figure(artefact: str, content: Content, root: Path, stem: Path) -> None:
    """Draw a figure as PNG and PDF, and write its numbers as CSV.

    Args:
        artefact: its name.
        content: its settings, and the titles of what it shows.
        root: the results of the scale.
        stem: path of the files without suffix.
    """
    results = Results(root, content)
    draw = FIGURES.get(artefact_base(artefact), _own_figure)
    figure, numbers = draw(results)
    save(figure, numbers, stem)


def _own_figure(results: Results) -> Drawing:
    """Draw a figure by the function of the user's own that its settings name.

    Raises:
        UserError: it cannot be imported, or it returns something else than a figure and its
            numbers.
    """
    name = results.settings["draw"]
    # A window is of no use here, and there may be no screen.
    matplotlib.use("agg")
    drawn = styled(load_function(name, "figure"))(results)
    match drawn:
        case (Figure() as figure, pd.DataFrame() as numbers):
            return figure, numbers
    raise UserError(
        f"figure {name!r}: the function returned {_kind(drawn)}; it must return a matplotlib "
        "Figure and a pandas DataFrame of the numbers that it shows: return figure, numbers"
    )


def _kind(value: Any) -> str:
    """Return what a value is, of a tuple each of its parts."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_kind, value))})"
    return type(value).__name__


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def _table1(results: Results) -> pd.DataFrame:
    rows = results.settings["rows"].values()
    return ensemble_tables.garipov2018_table1(
        [results.ensemble(name) for row in rows for name in row["ensembles"]],
        published=load_published("garipov2018_table1"),
        counterparts=results.counterparts(),
    )


def _table2(results: Results) -> pd.DataFrame:
    rows = results.settings["rows"].values()
    return tables.garipov2018_table2(
        [results.curve(name) for row in rows for name in row["curves"]],
        published=load_published("garipov2018_table2"),
        reference_code=load_published("garipov2018_table2_reference_code"),
        counterparts=results.counterparts(),
        method="reflected",
    )


def _table3(results: Results) -> pd.DataFrame:
    rows = results.settings["rows"].values()
    return language_models.garipov2018_table3(
        [results.curve(name) for row in rows for name in row["curves"]],
        published=load_published("garipov2018_table3"),
        counterparts=results.counterparts(),
    )


def _imagenet_table(results: Results) -> pd.DataFrame:
    settings = results.settings
    name, average = settings["fast_geometric"], settings["weight_average"]
    facts = results.content["ensembles"][name]
    ours = (facts["dataset"], facts["network"])
    counterpart = settings["published_as"]
    return ensemble_tables.garipov2018_imagenet(
        [
            FinetunedNetwork(
                *ours,
                members=results.members(name),
                predictions=results.member_predictions(name),
                weight_averages=None if average is None else results.member_predictions(average),
            )
        ],
        published=load_published("garipov2018_imagenet"),
        counterparts={}
        if counterpart is None
        else {ours: (counterpart["dataset"], counterpart["network"])},
    )


def _curve_ensemble_table(results: Results) -> pd.DataFrame:
    settings = results.settings
    name = settings["curve_points"]
    facts = results.content["ensembles"][name]
    grid = results.members(name)
    points = results.member_predictions(name)
    networks = [results.network_predictions(text)[0] for text in settings["networks"]]
    members: list[tuple[str, Any, Any]] = [
        ("Curve points", points, None),
        ("Curve points, scaled by loss", points, logit_scales(grid["train_loss"])),
        ("Curve points, scaled by NLL", points, logit_scales(grid["train_nll"])),
        ("Endpoints", networks[:2], None),
        ("Independent networks", networks, None),
    ]
    ensembles = []
    for kind, predictions, scales in members:
        probabilities = ensemble_probabilities(predictions, scales)
        correct: NDArray[np.bool_] = probabilities.argmax(axis=1) == points.labels
        ensembles.append(
            EvaluatedEnsemble(
                dataset=facts["dataset"],
                network=facts["network"],
                ensemble=kind,
                members=len(predictions),
                correct=correct,
                test_nll=negative_log_likelihood(probabilities, points.labels),
            )
        )
    return tables.garipov2018_curve_ensemble(
        ensembles, published=load_published("garipov2018_curve_ensemble")
    )


def _trivial_path_table(results: Results) -> pd.DataFrame:
    return tables.garipov2018_trivial_path(
        [results.curve(name) for name in results.settings["curves"]]
    )


def _planes(results: Results) -> tuple[Plane, Plane, Plane]:
    settings = results.settings
    return (
        results.plane(settings["independent"], "Three independent networks"),
        results.plane(settings["bezier"], "Bezier curve"),
        results.plane(settings["polychain"], "Polygonal chain"),
    )


def _figure1(results: Results) -> Drawing:
    settings = results.settings
    return figures.garipov2018_figure1(
        *_planes(results),
        train_loss_clip=settings["train_loss_clip"],
        title=results.title(settings["independent"], "planes"),
    )


def _figure7(results: Results) -> Drawing:
    settings = results.settings
    return figures.garipov2018_figure7(
        *_planes(results),
        train_loss_clip=settings["train_loss_clip"],
        test_error_clip=settings["test_error_clip"],
        title=results.title(settings["independent"], "planes"),
    )


def _figure2(results: Results) -> Drawing:
    settings = results.settings
    grids = {
        curve_title(kind): results.curve_grid(settings[kind])
        for kind in ("segment", "bezier", "polychain")
    }
    members = results.members(settings["curve_points"])
    predictions = results.member_predictions(settings["curve_points"])
    ensemble = curve_ensemble(members, predictions, predictions.labels, members=len(members))
    title = results.title(settings["segment"], "curves")
    return figures.garipov2018_figure2(grids, ensemble, title=title)


def _figure3(results: Results) -> Drawing:
    settings = results.settings
    curves = []
    for name in settings["curves"]:
        width = results.content["curves"][name]["options"][settings["option"]]
        grid = results.curve_grid(name)
        curves.append(figures.WidthCurve(width, grid, float(grid["distance"].iloc[-1])))
    title = results.title(settings["curves"][-1], "curves")
    return figures.garipov2018_figure3(curves, title=title)


def _figure4(results: Results) -> Drawing:
    settings = results.settings
    paths = {}
    for kind in ("segment", "polychain", "random_segment"):
        predictions = results.curve_predictions(settings[kind])
        t = results.curve_grid(settings[kind])["t"]
        paths[curve_title(kind)] = two_network_errors(t, predictions, predictions.labels)
    title = results.title(settings["segment"], "curves")
    return figures.garipov2018_figure4(paths, title=title)


def _schedule(results: Results, text: str, *, rows_per_epoch: int | None = None) -> pd.DataFrame:
    """Return the learning rate along a training.

    Args:
        results: the artefact's.
        text: the network, recipe/seed.
        rows_per_epoch: at most; a row an iteration if left out.
    """
    facts = results.content["histories"][text]
    history = results.history(text)
    iterations = round(history["iteration"].iloc[-1] / history["epoch"].iloc[-1])
    every = 1 if rows_per_epoch is None else max(1, iterations // rows_per_epoch)
    steps = range(0, facts["epochs"] * iterations, every)
    schedule: AnySchedule = TypeAdapter(AnySchedule).validate_python(facts["schedule"])
    rates = [
        learning_rate(
            schedule,
            facts["learning_rate"],
            epochs=facts["epochs"],
            epoch=step // iterations,
            progress=step % iterations / iterations,
        )
        for step in steps
    ]
    return pd.DataFrame({"epoch": np.array(steps) / iterations, "learning_rate": rates})


def _figure5(results: Results) -> Drawing:
    text = results.settings["history"]
    schedule = _schedule(results, text)
    facts = results.content["histories"][text]
    return ensemble_figures.garipov2018_figure5(
        results.history(text),
        facts["snapshots"],
        schedule=schedule,
        iterations_per_epoch=len(schedule) // facts["epochs"],
        title=results.title(text, "histories"),
    )


def _modes(results: Results) -> pd.DataFrame:
    settings = results.settings
    modes = []
    first = next(iter(settings["modes"]), None)
    for label, text in settings["modes"].items():
        facts = results.content["networks"][text]
        metrics = results.metrics(text)
        modes.append(
            EvaluatedMode(
                dataset=facts["dataset"],
                network=facts["network"],
                label=label,
                setting=settings["differences"].get(label, ""),
                metrics=metrics,
                distance=_distance_to(results, first, label),
                correct=results.network_correct(text),
            )
        )
    connections = []
    for label, names in settings["rows"].items():
        chain = names["polychain"]
        connections.append(
            EvaluatedConnection(
                label=names["title"] or label,
                segment=results.curve(names["segment"]),
                curve=results.curve(chain),
                epochs=results.content["curves"][chain]["epochs"],
                snapshots=results.curve_snapshots(chain),
            )
        )
    return gotmare2018_modes(modes, connections, margin=settings["margin"])


def _distance_to(results: Results, first: str | None, label: str) -> float:
    """Return the distance of a mode to the first one, from the segment that connects them."""
    modes = results.settings["modes"]
    if label == first:
        return 0.0
    for names in results.settings["rows"].values():
        facts = results.content["curves"][names["segment"]]
        if {facts["start"], facts["end"]} == {modes[first], modes[label]}:
            return float(results.curve_grid(names["segment"])["distance"].iloc[-1])
    return float("nan")


def _connections(results: Results) -> tuple[dict[str, pd.DataFrame], str]:
    connections = results.settings["connections"]
    first = next(iter(connections.values()))
    snapshots = {label: results.curve_snapshots(name) for label, name in connections.items()}
    return snapshots, results.title(first, "snapshots")


def _pairs(results: Results) -> dict[str, list[gotmare.Connection]]:
    return {
        title: [
            gotmare.Connection(
                pair["start"],
                pair["end"],
                results.curve_grid(pair["polychain"]),
                results.curve_grid(pair["segment"]),
            )
            for pair in results.settings[key]
        ]
        for key, title in (("sgdr", "SGDR"), ("sgd", "SGD"))
    }


def _pairs_title(results: Results) -> str:
    return results.title(results.settings["sgdr"][0]["segment"], "curves")


def _gotmare_figure2(results: Results) -> Drawing:
    trainings = {
        "SGDR": results.settings["sgdr_history"],
        "SGD": results.settings["sgd_history"],
    }
    return gotmare.gotmare2018_figure2(
        {title: results.history(text) for title, text in trainings.items()},
        {title: _schedule(results, text, rows_per_epoch=20) for title, text in trainings.items()},
        _pairs(results),
        title=_pairs_title(results),
    )


def _gotmare_figure4(results: Results) -> Drawing:
    settings = results.settings
    folder = results.root / layout.geometry(settings["geometry"])
    return gotmare.gotmare2018_figure4(
        _read(folder / "points.csv"),
        _read(folder / "distances.csv"),
        perplexity=settings["perplexity"],
        seed=settings["seed"],
        title=results.title(settings["geometry"], "geometries"),
    )


def _on_plane(draw: Callable[..., Drawing]) -> Callable[[Results], Drawing]:
    def make(results: Results) -> Drawing:
        name = results.settings["plane"]
        return draw(results.plane(name, ""), title=results.title(name, "planes"))

    return make


def _benton_figure2(results: Results) -> Drawing:
    name = results.settings["plane"]
    return benton.benton2021_figure2(
        results.plane(name, ""),
        results.members(results.settings["curve_swag"]),
        title=results.title(name, "planes"),
    )


def _on_faces(draw: Callable[..., Drawing]) -> Callable[[Results], Drawing]:
    def make(results: Results) -> Drawing:
        names = results.settings["faces"]
        return draw(
            [results.plane(name, "") for name in names],
            train_nll_clip=results.settings["train_nll_clip"],
            title=results.title(names[0], "planes"),
        )

    return make


def _benton_figure4(results: Results) -> Drawing:
    complexes = []
    for text in results.settings["complexes"]:
        facts = results.content["complexes"][text]
        complexes.append(
            TrainedComplex(
                results.distances(text),
                [[facts["labels"][k] for k in simplex] for simplex in facts["simplexes"]],
                title=results.title(text, "complexes"),
            )
        )
    return benton2021_figure4(complexes)


def _benton_figure5(results: Results) -> Drawing:
    settings = results.settings
    counts = range(1, settings["connectors"] + 1)
    return benton2021_figure5(
        results.volumes(settings["complex"]),
        {k: results.samples(f"{settings['complex']}/{k}") for k in counts},
        accuracy=settings["accuracy"],
        title=results.title(settings["complex"], "complexes"),
    )


def _benton_figure_a2(results: Results) -> Drawing:
    settings = results.settings
    return benton2021_figure_a2(
        *sampling.triangles(settings["samples"], settings["scale"], settings["seed"])
    )


def _benton_figure_a4a(results: Results) -> Drawing:
    settings = results.settings
    names = settings["complexes"]
    volumes = {
        results.content["complexes"][text]["options"][settings["option"]]: results.volumes(text)
        for text in names
    }
    return benton2021_figure_a4a(volumes, title=results.title(names[0], "complexes"))


def _along_connections(draw: Callable[..., Drawing]) -> Callable[[Results], Drawing]:
    def make(results: Results) -> Drawing:
        snapshots, title = _connections(results)
        return draw(snapshots, title=title)

    return make


def _figure6(results: Results) -> Drawing:
    settings = results.settings
    frames = {}
    for key in ("fast_geometric", "snapshot"):
        name = settings[key]
        predictions = results.member_predictions(name)
        members = results.members(name)
        runs = {seed: run for run, seed in enumerate(members["seed"].unique(), start=1)}
        members = members.assign(run=members["seed"].map(runs))
        members = members[members["run"] <= settings["budgets"]]
        members["epoch"] += (members["run"] - 1) * settings["budget_epochs"]
        members = members.sort_values(["run", "epoch"], kind="stable")
        errors = ensemble_figures.running_ensemble_errors(
            (predictions[index] for index in members.index), predictions.labels
        )
        frames[METHOD_TITLES[key]] = members.assign(
            ensemble_test_error=errors, budget_epochs=settings["budget_epochs"]
        ).reset_index(drop=True)
    title = results.title(settings["fast_geometric"], "ensembles")
    return ensemble_figures.garipov2018_figure6(frames, title=title)


def _trivial_path_figure(results: Results) -> Drawing:
    name = results.settings["curves"][0]
    title = results.title(name, "curves")
    return figures.garipov2018_trivial_path(results.curve_grid(name), title=title)


FUNCTION_TITLES = {
    "espro": "ESPRO",
    "deep_ensemble": "Deep ensemble",
    "subspace": "Subspace inference",
}
"""By the keys of figure 10 of Benton et al. 2021, in the order of its panels."""


def _shown_functions(results: Results) -> dict[str, str]:
    """Return the ensembles of figure 10 by the title of their panel."""
    return {
        title: results.settings[key]
        for key, title in FUNCTION_TITLES.items()
        if results.settings[key] is not None
    }


def _benton_figure10_table(results: Results) -> pd.DataFrame:
    ensembles = []
    for title, name in _shown_functions(results).items():
        facts = results.content["functions"][name]
        stored = open_tensors(
            results.root / layout.ensemble(name) / "predictions.safetensors", ("values", "targets")
        )
        ensembles.append(
            EvaluatedFunctions(
                dataset=facts["dataset"],
                network=facts["network"],
                method=title,
                functions=results.functions(name, regression=True),
                values=stored.get_tensor("values"),
                targets=stored.get_tensor("targets"),
                noise=facts["data"]["noise"],
                noise_variance=facts["data"]["noise_variance"],
                intervals=facts["data"]["intervals"],
            )
        )
    return benton2021_figure10_table(ensembles)


def _benton_figure10(results: Results) -> Drawing:
    shown = _shown_functions(results)
    return benton2021_figure10(
        {title: results.functions(name, regression=True) for title, name in shown.items()},
        lines=results.settings["lines"],
        title=results.title(results.settings["deep_ensemble"], "functions"),
    )


def _benton_figure7(results: Results) -> Drawing:
    name = results.settings["members"]
    return benton2021_figure7(
        results.functions(name, regression=False),
        shown=results.settings["shown"],
        title=results.title(name, "functions"),
    )


def _shift(results: Results, severities: Sequence[int] = SEVERITIES) -> pd.DataFrame:
    settings = results.settings
    methods = []
    for label, name in settings["ensembles"].items():
        facts = results.content["shifts"][name]
        folder = results.root / layout.ensemble(name)
        methods.append(read_shift(facts["dataset"], facts["network"], label, folder))
    return shift_table(
        methods, settings["corruptions"], severities=severities, budget=settings["budget"]
    )


def _shift_table(results: Results) -> pd.DataFrame:
    return _shift(results, results.settings["severities"])


def _under_shift(draw: Callable[..., Drawing]) -> Callable[[Results], Drawing]:
    def make(results: Results) -> Drawing:
        first = next(iter(results.settings["ensembles"].values()))
        return draw(_shift(results), title=results.title(first, "shifts"))

    return make


def _components(published: str | None = None) -> Callable[[Results], pd.DataFrame]:
    def make(results: Results) -> pd.DataFrame:
        return component_table(
            [
                EvaluatedComponents(results.ensemble(name, label), results.training_seconds(name))
                for row in results.settings["rows"].values()
                for label, name in row["components"].items()
            ],
            published=None if published is None else load_published(published),
            counterparts=results.counterparts(),
        )

    return make


def _of_table(
    make: Callable[[Results], pd.DataFrame], draw: Callable[..., Drawing]
) -> Callable[[Results], Drawing]:
    return lambda results: draw(make(results))


def _regularisation(results: Results) -> Drawing:
    names = results.settings["regularised"]
    simplexes = []
    for name in names:
        facts = results.content["trainings"][name]
        logs = []
        for folder in facts["simplexes"]:
            volumes = _read(results.root / folder / "volumes.csv").set_index("connectors")
            logs.append(float(volumes["log10_volume"].loc[facts["connectors"]]))
        ensemble = results.ensemble(name, name)
        simplexes.append(RegularisedSimplexes(facts["regularisation"], ensemble, logs))
    title = results.title(names[0], "ensembles")
    return benton2021_figure_a3(regularisation_table(simplexes), title=title)


def _samples(results: Results) -> Drawing:
    ensembles = [
        results.sampled_members(name, label)
        for row in results.settings["rows"].values()
        for label, name in row["sampled"].items()
    ]
    return benton2021_figure_a4b(sample_errors(ensembles, orders=results.settings["orders"]))


LAYOUTS: Mapping[str, Layout] = {
    **COMPONENT_LAYOUTS,
    **SHIFT_LAYOUTS,
    **tables.LAYOUTS,
    **ensemble_tables.ENSEMBLE_LAYOUTS,
    "garipov2018_table3": language_models.TABLE3_LAYOUT,
    "gotmare2018_modes": MODES_LAYOUT,
    **FUNCTION_LAYOUTS,
}
TABLES: Mapping[str, Callable[[Results], pd.DataFrame]] = {
    "benton2021_figure11": _shift_table,
    "benton2021_c1": _shift_table,
    "garipov2018_table1": _table1,
    "garipov2018_table2": _table2,
    "garipov2018_table3": _table3,
    "garipov2018_imagenet": _imagenet_table,
    "garipov2018_curve_ensemble": _curve_ensemble_table,
    "garipov2018_trivial_path": _trivial_path_table,
    "gotmare2018_modes": _modes,
    "benton2021_figure10": _benton_figure10_table,
    "benton2021_figure8": _components("benton2021_figure8"),
    "benton2021_figure9": _components(),
    "benton2021_figure_a7": _components("benton2021_figure_a7"),
}
FIGURES: Mapping[str, Callable[[Results], Drawing]] = {
    "benton2021_figure11": _under_shift(benton2021_figure11),
    "benton2021_c1": _under_shift(benton2021_c1),
    "garipov2018_figure1": _figure1,
    "garipov2018_figure2": _figure2,
    "garipov2018_figure3": _figure3,
    "garipov2018_figure4": _figure4,
    "garipov2018_figure5": _figure5,
    "garipov2018_figure6": _figure6,
    "garipov2018_figure7": _figure7,
    "garipov2018_figure8": _figure7,
    "garipov2018_trivial_path": _trivial_path_figure,
    "gotmare2018_figure1": _along_connections(gotmare.gotmare2018_figure1),
    "gotmare2018_figure2": _gotmare_figure2,
    "gotmare2018_figure3": _on_plane(gotmare.gotmare2018_figure3),
    "gotmare2018_figure4": _gotmare_figure4,
    "gotmare2018_figure5": _on_plane(gotmare.gotmare2018_figure5),
    "gotmare2018_figure6": _on_plane(gotmare.gotmare2018_figure6),
    "gotmare2018_figure7": lambda results: gotmare.gotmare2018_figure7(
        _pairs(results), title=_pairs_title(results)
    ),
    "gotmare2018_figure8": _along_connections(gotmare.gotmare2018_figure8),
    "gotmare2018_figure9": _along_connections(gotmare.gotmare2018_figure9),
    "gotmare2018_figure10": _along_connections(gotmare.gotmare2018_figure10),
    "benton2021_figure7": _benton_figure7,
    "benton2021_figure8": _of_table(_components("benton2021_figure8"), benton2021_figure8),
    "benton2021_figure9": _of_table(_components(), benton2021_figure8),
    "benton2021_figure_a3": _regularisation,
    "benton2021_figure_a4b": _samples,
    "benton2021_figure_a5": _on_plane(benton2021_figure_a5),
    "benton2021_figure_a6": _samples,
    "benton2021_figure_a7": _of_table(_components("benton2021_figure_a7"), benton2021_figure_a7),
    "benton2021_figure_a8": _of_table(_components(), benton2021_figure8),
    "benton2021_figure10": _benton_figure10,
    "benton2021_figure2": _benton_figure2,
    "benton2021_figure3": _on_faces(benton2021_figure3),
    "benton2021_figure4": _benton_figure4,
    "benton2021_figure5": _benton_figure5,
    "benton2021_figure6": _on_faces(benton2021_figure6),
    "benton2021_figure_a2": _benton_figure_a2,
    "benton2021_figure_a4a": _benton_figure_a4a,
}
