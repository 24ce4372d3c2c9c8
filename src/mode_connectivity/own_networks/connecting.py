"""Curves between two networks of a user's own: trained, measured, tabulated and drawn."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mode_connectivity.evaluation.curves import evaluate_curve
from mode_connectivity.files import digest, write_frame
from mode_connectivity.own_networks.identity import measured_with, reserve
from mode_connectivity.own_networks.opening import OwnNetworks
from mode_connectivity.provenance import code_fingerprint
from mode_connectivity.reporting.barriers import barriers
from mode_connectivity.reporting.curve_titles import curve_note, curve_title
from mode_connectivity.reporting.figures.connections import draw_connections
from mode_connectivity.reporting.figures.files import save
from mode_connectivity.reporting.rendering import write_table
from mode_connectivity.reporting.summaries import read_correct
from mode_connectivity.reporting.tables import LAYOUTS, EvaluatedCurve, curve_table
from mode_connectivity.settings import UserError
from mode_connectivity.training.curves import CurveSource, open_curve, train_curve
from mode_connectivity.training.recipes import CurveSettings

logger = logging.getLogger(__name__)

LAYOUT = replace(
    LAYOUTS["garipov2018_table2"],
    title="Curves between two networks",
    legend="In brackets: 95 % intervals over test examples. Above ends: by how much the worst "
    "point of the curve lies above its worse end, paired by test example.",
    published_setting=(),
    notes=("note",),
)


@dataclass(frozen=True, eq=False)
class Connection:
    """What was measured of curves between two networks.

    Attributes:
        table: a row a curve, and one of the networks: see `curve_table`.
        barriers: a row a curve: see `barriers`.
        grids: of each curve, by its title.
    """

    table: pd.DataFrame
    barriers: pd.DataFrame
    grids: Mapping[str, pd.DataFrame]


def connect(networks: OwnNetworks, curves: Mapping[str, CurveSettings], folder: Path) -> Connection:
    """Train curves between two networks, measure them, and tabulate and draw what was found.

    What is finished in the folder already is not made again, and what was stopped goes on.

    Args:
        networks: the networks' architecture and data.
        curves: as by `curves_between`, by the names of their folders.
        folder: takes a folder a curve (``vertices.safetensors``, ``history.csv``, ``grid.csv``,
            ``correct.safetensors``, ``settings.json``), ``table.csv .md .tex``, ``barriers.csv``
            and ``curves.png .pdf .csv .json``.

    Raises:
        UserError: the weights do not fit the network, or the folder holds curves that were made
            with other settings, of other networks or data.
    """
    for start, end in {(curve.start, curve.end) for curve in curves.values()}:
        networks.check(Path(start), Path(end))
    identities = {name: _identity(networks, curve) for name, curve in curves.items()}
    for name, identity in identities.items():
        reserve(folder / name, identity)
    evaluated, found = [], {}
    for name, settings in curves.items():
        curve = _evaluated(networks, settings, folder / name, identities[name])
        evaluated.append(curve)
        found[curve.curve] = barriers(curve.grid, correct=curve.correct, where=curve.where)
    table = curve_table(evaluated)
    heights = pd.DataFrame(found.values()).assign(curve=list(found))
    heights.insert(0, "curve", heights.pop("curve"))
    grids = {curve.curve: curve.grid for curve in evaluated}
    write_table(table, LAYOUT, folder / "table")
    write_frame(folder / "barriers.csv", heights)
    save(*draw_connections(grids, title=networks.heading), folder / "curves")
    return Connection(table, heights, grids)


def _identity(networks: OwnNetworks, curve: CurveSettings) -> dict[str, Any]:
    """Return what a measured curve depends on."""
    return {
        **measured_with(networks),
        "curve": curve.model_dump(mode="json", exclude={"start", "end", "recipe"}),
        "weights": [digest(Path(path)) for path in (curve.start, curve.end)],
    }


def _evaluated(
    networks: OwnNetworks, settings: CurveSettings, folder: Path, identity: Mapping[str, Any]
) -> EvaluatedCurve:
    """Train and measure a curve, as far as that is not done."""
    workspace = networks.workspace
    fingerprint = [identity, code_fingerprint(Path(__file__))]
    vertices, history, grid = (
        folder / name for name in ("vertices.safetensors", "history.csv", "grid.csv")
    )
    ends = CurveSource(start=Path(settings.start), end=Path(settings.end))
    if settings.trained and not history.exists():
        logger.info("train %s", folder)
        train_curve(
            settings,
            workspace,
            ends,
            vertices=vertices,
            history=history,
            snapshots=folder / "snapshots",
            fingerprint=fingerprint,
        )
    if not grid.exists():
        logger.info("measure %s", folder)
        source = CurveSource(vertices=vertices) if settings.trained else ends
        evaluate_curve(
            open_curve(settings, source, workspace),
            settings.points,
            workspace,
            networks.recipe.training,
            networks.evaluation,
            predictions=False,
            renormalise=settings.renormalise,
            grid=grid,
            fingerprint=fingerprint,
        )
    frame = pd.read_csv(grid)
    if frame["distance"].iloc[-1] == 0:
        raise UserError(
            f"{settings.end} is {settings.start} with its units in another order: nothing is left "
            "to connect"
        )
    matching = None if settings.alignment is None else settings.alignment.matching
    return EvaluatedCurve(
        networks.title,
        networks.network_title,
        curve_title(settings.kind, matching=matching, renormalise=settings.renormalise),
        frame,
        endpoint_distance=float(frame["distance"].iloc[-1]),
        correct=read_correct(folder / "correct.safetensors"),
        note=curve_note(matching=matching, renormalise=settings.renormalise),
    )
