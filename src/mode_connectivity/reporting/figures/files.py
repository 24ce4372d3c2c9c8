"""Writing a figure and its numbers."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mode_connectivity.files import atomic
from mode_connectivity.reporting.figures.places import drawn_points
from mode_connectivity.reporting.style import paper_style

_METADATA: dict[str, dict[str, Any]] = {
    # Dates and versions would give the same figure other bytes on another day.
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save(figure: Figure, numbers: pd.DataFrame, stem: Path) -> None:
    """Write ``{stem}.png`` (300 dpi), ``{stem}.pdf``, ``{stem}.csv`` and ``{stem}.json``.

    The last says where the points of the picture lie, see `drawn_points`. The same figure gives the
    same bytes, and no file is ever seen half-written: all are completed beside their places before
    the first is moved there.

    Args:
        figure: The picture.
        numbers: Exactly the numbers it shows.
        stem: Path without suffix; its folder is made if needed.
    """
    with ExitStack() as stack:
        drafts = {
            suffix: stack.enter_context(atomic(stem.with_name(stem.name + suffix)))
            for suffix in (*_METADATA, ".csv", ".json")
        }
        with paper_style():
            for suffix, metadata in _METADATA.items():
                figure.savefig(drafts[suffix], format=suffix[1:], metadata=metadata)
                # The next format takes this layout: finding it again is a fifth of the job's time.
                figure.set_layout_engine("none")
        numbers.to_csv(drafts[".csv"], index=False, lineterminator="\n")
        places = json.dumps(drawn_points(figure), ensure_ascii=False, separators=(",", ":"))
        drafts[".json"].write_text(places + "\n", encoding="utf-8")
