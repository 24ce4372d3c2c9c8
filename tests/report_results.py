"""Results of a scale, made up and drawn for real, for tests of the page that shows them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mode_connectivity.config import Config, load_config
from mode_connectivity.reporting.claim_settings import claim_files, load_claims
from mode_connectivity.reporting.claims import Artefacts, write_claims
from mode_connectivity.reporting.figures import garipov2018
from mode_connectivity.reporting.figures.files import save
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.reporting.published import load_published
from mode_connectivity.reporting.rendering import write_table
from mode_connectivity.reporting.tables import LAYOUTS, EvaluatedCurve, garipov2018_table2

ROOT = Path(__file__).parents[1]
T = np.linspace(0, 1, 31)
BARRIER = np.exp(-(((T - 0.5) / 0.25) ** 4))
SELECTED = ("garipov2018_table2", "garipov2018_figure1", "garipov2018_figure3", "gotmare2018_modes")
"""Artefacts that belong on the page; the last two were not made."""


def curve(
    kind: str, rise: float, *, dataset: str = "Digits", network: str = "VGG-16"
) -> EvaluatedCurve:
    wrong = np.round(40 + rise * 10 * BARRIER).astype(int)
    grid = pd.DataFrame(
        {
            "t": T,
            "length": 40 * T,
            "train_loss": 0.1 + rise * BARRIER / 40,
            "train_nll": 0.05 + rise * BARRIER / 40,
            "train_error": rise * BARRIER,
            "test_nll": 0.3 + rise * BARRIER / 40,
            "test_error": wrong / 10,
        }
    )
    correct = np.arange(1000) >= wrong[:, None]
    return EvaluatedCurve(dataset, network, kind, grid, 40.0, correct)


def plane(title: str, curve: str | None = None) -> Plane:
    x, y = np.meshgrid(np.linspace(-8, 48, 9), np.linspace(-5, 30, 8))
    x, y = x.ravel(), y.ravel()
    loss = 0.1 + 3 * (1 - np.exp(-((np.minimum(np.hypot(x, y), np.hypot(x - 40, y)) / 12) ** 2)))
    marks = [("endpoint", np.nan, 0.0, 0.0), ("endpoint", np.nan, 40.0, 0.0)]
    marks.append(("bend", np.nan, 20.0, 25.0))
    marks += [("curve", t, 40 * t, 25 * (1 - abs(2 * t - 1))) for t in T]
    points = pd.DataFrame(marks, columns=["kind", "t", "x", "y"])
    return Plane(title, pd.DataFrame({"x": x, "y": y, "train_loss": loss}), points, curve)


def make_results(results: Path) -> Config:
    """Write a table, a figure, records and judged statements, and leave the rest out."""
    config = load_config({"select": list(SELECTED)}, ROOT)
    table = garipov2018_table2(
        [curve("Segment", 60.0), curve("Bezier", 0.4), curve("Polychain", 0.6)],
        published=load_published("garipov2018_table2"),
        reference_code=load_published("garipov2018_table2_reference_code"),
        counterparts={("Digits", "VGG-16"): ("CIFAR-10", "VGG-16")},
        resamples=100,
    )
    write_table(table, LAYOUTS["garipov2018_table2"], results / "tables" / "garipov2018_table2")
    figure, numbers = garipov2018.garipov2018_figure1(
        plane("Three optima"), plane("Bezier curve", "Bezier"), plane("Chain", "Polychain")
    )
    save(figure, numbers, results / "figures" / "garipov2018_figure1")
    for name, seconds in (("digits_vgg16_bezier", 100.0), ("digits_vgg16_polychain", 25.0)):
        folder = results / "curves" / name
        folder.mkdir(parents=True)
        record = {
            "work_seconds": seconds,
            "commit": "0123456789abcdef",
            "device": "cpu",
            "python": "3.11.7",
            "versions": {"mode-connectivity": "0.1.0", "torch": "2.13.0"},
        }
        (folder / "run.json").write_text(json.dumps(record))
    (results / "curves" / "digits_vgg16_bezier" / "grid.json").write_text("{broken")
    write_claims(load_claims(claim_files()), Artefacts.below(results), "demo", results)
    return config
