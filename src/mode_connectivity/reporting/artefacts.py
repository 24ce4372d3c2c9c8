"""From stored results to the files of one artefact: what each table and figure is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mode_connectivity import layout
from mode_connectivity.reporting import tables
from mode_connectivity.reporting.figures import garipov2018 as figures
from mode_connectivity.reporting.figures.files import save
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.reporting.published import load_published
from mode_connectivity.reporting.rendering import write_table
from mode_connectivity.reporting.settings import artefact_base
from mode_connectivity.reporting.summaries import read_correct
from mode_connectivity.reporting.tables import EvaluatedCurve, EvaluatedEnsemble
from mode_connectivity.reporting.temperature import (
    StoredPredictions,
    curve_ensemble,
    ensemble_probabilities,
    logit_scales,
    negative_log_likelihood,
    two_network_errors,
)
from mode_connectivity.settings import UserError
from mode_connectivity.training.recipes import NetworkReference

CURVE_TITLES = {
    "segment": "Segment",
    "random_segment": "Random segment",
    "bezier": "Bezier",
    "polychain": "Polychain",
    "trivial_path": "Trivial path",
}

Content = Mapping[str, Any]
Drawing = tuple[Figure, pd.DataFrame]


@dataclass(frozen=True)
class Results:
    """The results of a scale, read by the names of the config.

    Attributes:
        root: the folder ``results/{scale}``.
        content: settings of an artefact, and the titles of the curves and networks it shows.
    """

    root: Path
    content: Content

    @property
    def settings(self) -> Mapping[str, Any]:
        """The artefact's own settings."""
        return dict(self.content["settings"])

    def curve_grid(self, name: str) -> pd.DataFrame:
        """Return the grid of a curve."""
        return _read(self.root / layout.curve(name) / "grid.csv")

    def members(self, name: str) -> pd.DataFrame:
        """Return the members of an ensemble of curve points."""
        return _read(self.root / layout.ensemble(name) / "members.csv")

    def curve(self, name: str) -> EvaluatedCurve:
        """Return a curve with its titles and the correctness of every test example."""
        facts = self.content["curves"][name]
        grid = self.curve_grid(name)
        return EvaluatedCurve(
            dataset=facts["dataset"],
            network=facts["network"],
            curve=CURVE_TITLES[facts["kind"]],
            grid=grid,
            endpoint_distance=float(grid["distance"].iloc[-1]),
            correct=read_correct(self.root / layout.curve(name) / "correct.safetensors"),
        )

    def plane(self, name: str, title: str) -> Plane:
        """Return a plane under a title."""
        folder = self.root / layout.plane(name)
        return Plane(title, _read(folder / "grid.csv"), _read(folder / "points.csv"))

    def curve_predictions(self, name: str) -> StoredPredictions:
        """Return the test predictions along a curve."""
        path = self.root / layout.curve(name) / "predictions.safetensors"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; set predictions: true for the curve {name!r} in the config"
            )
        return StoredPredictions(path)

    def member_predictions(self, name: str) -> StoredPredictions:
        """Return the test predictions of an ensemble's members."""
        return StoredPredictions(self.root / layout.ensemble(name) / "predictions.safetensors")

    def network_predictions(self, text: str) -> StoredPredictions:
        """Return the test predictions of a network."""
        reference = NetworkReference.parse(text)
        folder = self.root / layout.network(reference.recipe, reference.seed)
        return StoredPredictions(folder / "evaluation" / "predictions.safetensors")

    def title(self, name: str, section: str = "networks") -> str:
        """Return a line that names the network and the data set of a plane, ensemble or curve."""
        facts = self.content[section][name]
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
    write_table(TABLES[base](Results(root, content)), tables.LAYOUTS[base], stem)


def make_figure(artefact: str, content: Content, root: Path, stem: Path) -> None:
    """Draw a figure as PNG and PDF, and write its numbers as CSV.

    Args:
        artefact: its name.
        content: its settings, and the titles of what it shows.
        root: the results of the scale.
        stem: path of the files without suffix.
    """
    figure, numbers = FIGURES[artefact_base(artefact)](Results(root, content))
    save(figure, numbers, stem)


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def _table2(results: Results) -> pd.DataFrame:
    curves = []
    counterparts = {}
    for row in results.settings["rows"].values():
        of_row = [results.curve(name) for name in row["curves"]]
        curves += of_row
        if row["published_as"] is not None:
            ours = (of_row[0].dataset, of_row[0].network)
            counterparts[ours] = (row["published_as"]["dataset"], row["published_as"]["network"])
    return tables.garipov2018_table2(
        curves,
        published=load_published("garipov2018_table2"),
        reference_code=load_published("garipov2018_table2_reference_code"),
        counterparts=counterparts,
        method="reflected",
    )


def _curve_ensemble_table(results: Results) -> pd.DataFrame:
    settings = results.settings
    name = settings["curve_points"]
    facts = results.content["networks"][name]
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
        title=results.title(settings["independent"]),
    )


def _figure7(results: Results) -> Drawing:
    settings = results.settings
    return figures.garipov2018_figure7(
        *_planes(results),
        train_loss_clip=settings["train_loss_clip"],
        test_error_clip=settings["test_error_clip"],
        title=results.title(settings["independent"]),
    )


def _figure2(results: Results) -> Drawing:
    settings = results.settings
    grids = {
        CURVE_TITLES[kind]: results.curve_grid(settings[kind])
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
        paths[CURVE_TITLES[kind]] = two_network_errors(t, predictions, predictions.labels)
    title = results.title(settings["segment"], "curves")
    return figures.garipov2018_figure4(paths, title=title)


def _trivial_path_figure(results: Results) -> Drawing:
    name = results.settings["curves"][0]
    title = results.title(name, "curves")
    return figures.garipov2018_trivial_path(results.curve_grid(name), title=title)


TABLES: Mapping[str, Callable[[Results], pd.DataFrame]] = {
    "garipov2018_table2": _table2,
    "garipov2018_curve_ensemble": _curve_ensemble_table,
    "garipov2018_trivial_path": _trivial_path_table,
}
FIGURES: Mapping[str, Callable[[Results], Drawing]] = {
    "garipov2018_figure1": _figure1,
    "garipov2018_figure2": _figure2,
    "garipov2018_figure3": _figure3,
    "garipov2018_figure4": _figure4,
    "garipov2018_figure7": _figure7,
    "garipov2018_figure8": _figure7,
    "garipov2018_trivial_path": _trivial_path_figure,
}
