"""The figures of Benton et al. 2021.

Each function takes the tables that the evaluator wrote and returns a figure and exactly the
numbers it shows. ``title``, where given, is a line above the figure such as the network and the
data set. Losses are cross-entropies, without the regulariser.
"""

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from mode_connectivity.reporting.figures.frames import require_columns
from mode_connectivity.reporting.figures.planes import Plane, Surface, draw_planes
from mode_connectivity.reporting.style import COLOUR_MAP, styled
from mode_connectivity.settings import UserError


@styled
def benton2021_figure2(
    plane: Plane,
    samples: pd.DataFrame,
    *,
    bands: int = 10,
    colour_map: str = COLOUR_MAP,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 2: networks drawn around the bend of a chain, and the chains through them.

    The samples do not lie in the plane, so each has the colour of its own loss, not that of the
    plane below it. The paper shows one loss surface; here the test error stands beside it.

    Args:
        plane: Through two networks and the bend of the chain between them, with ``train_nll``,
            ``test_error``, and the samples among its points.
        samples: ``members.csv`` of the samples, in the order of the points: ``sample``,
            ``train_nll``, ``train_error``, ``test_nll``, ``test_error`` (errors in percent).
        bands: Number of colours; the paper does not state its own.
        colour_map: Name of a matplotlib colour map.
        title: A line above the figure.

    Returns:
        The figure, and its numbers as `draw_planes` describes them; of the samples all four
        measurements.

    Raises:
        UserError: As `draw_planes`, or if the samples are not those of the plane.
    """
    where = "benton2021_figure2"
    measured = ["train_nll", "train_error", "test_nll", "test_error"]
    require_columns(samples, ["sample", *measured], f"{where}, samples")
    require_columns(plane.points, ["kind", "label"], f"{where}, points")
    projected = plane.points.loc[plane.points["kind"] == "sample", "label"].astype(str)
    if projected.tolist() != samples["sample"].astype(str).tolist():
        raise UserError(
            f"{where}: {len(projected)} samples on the plane, {len(samples)} that were measured; "
            "the same in the same order are needed: evaluate both again"
        )
    error, on_test = samples["train_error"], samples["test_error"]
    remark = (
        f"Samples: train error {error.min():.2g} to {error.max():.2g} %, "
        f"test error {on_test.min():.3g} to {on_test.max():.3g} %"
    )
    figure, numbers = draw_planes(
        [replace(plane, curve="Polychain", samples=samples)],
        [
            Surface("train_nll", "Train cross-entropy, log scale"),
            Surface("test_error", "Test error (%), log scale"),
        ],
        where=where,
        bands=bands,
        colour_map=colour_map,
        title="\n".join(text for text in (title, remark) if text),
    )
    for name in measured:
        numbers.loc[numbers["kind"] == "sample", name] = samples[name].to_numpy()
    return figure, numbers
