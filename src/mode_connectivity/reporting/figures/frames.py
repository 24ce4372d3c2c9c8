"""Checks of the tables that figures are drawn from."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mode_connectivity.settings import UserError, nearest

_log = logging.getLogger(__name__)


def require_columns(frame: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    """Check that a table has rows and the columns a figure needs.

    Raises:
        UserError: If not; names ``where``, the missing column and those found.
    """
    found = [str(column) for column in frame.columns]
    for column in columns:
        if column not in found:
            raise UserError(
                f"{where}: no column {column!r}; found {', '.join(found)}"
                f"{nearest(column, found)}; make the table again"
            )
    if frame.empty:
        raise UserError(f"{where}: no rows; at least one is needed; make the table again")


def require_curve(grid: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    """Check that a table is a grid along a curve: ``t`` ascending in [0, 1], and ``columns``.

    Raises:
        UserError: If not.
    """
    require_columns(grid, ["t", *columns], where)
    t = grid["t"].to_numpy(dtype=np.float64)
    if not (np.all(np.diff(t) > 0) and t[0] >= 0 and t[-1] <= 1):
        raise UserError(
            f"{where}: column 't' runs from {t[0]:g} to {t[-1]:g} and is not ascending within "
            "[0, 1]; one row a point is needed, in the order of t; evaluate the curve again"
        )


def finite(values: npt.ArrayLike, where: str) -> tuple[npt.NDArray[np.float64], str]:
    """Mask what cannot be drawn.

    Args:
        values: Any shape.
        where: Figure, panel and column, for the messages.

    Returns:
        The values with NaN for infinities, and a remark for the figure such as
        ``"3.1 % not finite"``: empty where all are finite. A warning is logged otherwise.

    Raises:
        UserError: If no value is finite.
    """
    masked: npt.NDArray[Any] = np.array(values, dtype=np.float64)
    bad = ~np.isfinite(masked)
    if not bad.any():
        return masked, ""
    if bad.all():
        raise UserError(
            f"{where}: none of the {masked.size} values is a finite number; "
            "there is nothing to draw; check the weights it was evaluated at"
        )
    masked[bad] = np.nan
    remark = f"{100 * bad.mean():.2g} % not finite"
    _log.warning("%s: %d of %d values are not finite", where, int(bad.sum()), masked.size)
    return masked, remark
