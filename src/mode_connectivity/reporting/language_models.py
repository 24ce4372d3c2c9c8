"""The table on language models of Garipov et al. 2018, from grids that are already loaded."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mode_connectivity.reporting.published import (
    CURVES,
    FORMATS,
    Pair,
    join_published,
    name_published,
)
from mode_connectivity.reporting.rendering import Column, Layout
from mode_connectivity.reporting.summaries import (
    check_grid,
    summarise_curve,
    summarise_endpoints,
    t_interval,
)
from mode_connectivity.reporting.tables import EvaluatedCurve

PARTS = ("train", "validation", "test")

_KEYS = ("dataset", "network", "curve")
_PUBLISHED_VALUES = FORMATS["garipov2018_table3"].values
_PERPLEXITIES = tuple(f"{part}_perplexity" for part in PARTS)
_INTEGRALS = tuple(f"{perplexity}_int" for perplexity in _PERPLEXITIES)
_OWN_VALUES = ("length_ratio", *_PUBLISHED_VALUES, *_INTEGRALS)


def garipov2018_table3(
    curves: Sequence[EvaluatedCurve],
    *,
    published: pd.DataFrame,
    counterparts: Mapping[Pair, Pair] | None = None,
) -> pd.DataFrame:
    """Garipov et al. 2018, Table 3: perplexity along the curves of a recurrent language model.

    A perplexity is ``exp(nll)`` of the mean over the words of a part at a point; Min and Max are
    over points. The paper prints no integral; ours, ``_int``, is the mean over arc length of the
    perplexity, not the perplexity of the mean.

    Args:
        curves: as for ``garipov2018_table2``, with ``train_nll``, ``validation_nll`` and
            ``test_nll`` (nats a word) in their grids; ``correct`` is not used.
        published: ``garipov2018_table3``, loaded.
        counterparts: as for ``garipov2018_table2``.

    Returns:
        ``dataset, network, curve``; ``length_ratio``; Min and Max of the perplexity of each part;
        these six with ``_published``; ``runs``; ``_int`` of each part; all ten of our values with
        ``_low`` and ``_high``, Student's 95 % interval over runs, empty for one run;
        ``published_dataset, published_network``; ``note_published``. Cells without a value are
        empty.

    Raises:
        UserError: a grid that lacks a column or holds no number, or a counterpart that is not
            published.
    """
    rows = []
    for evaluated in curves:
        grid = _with_perplexity(evaluated)
        keys = {key: getattr(evaluated, key) for key in _KEYS}
        if evaluated.curve == "Segment":
            rows.append(keys | {"curve": "Single"} | summarise_endpoints(grid, _PERPLEXITIES))
        rows.append(keys | summarise_curve(grid, evaluated.endpoint_distance, _PERPLEXITIES))
    ours = _over_runs(pd.DataFrame(rows, columns=[*_KEYS, *_OWN_VALUES]))
    names = name_published(ours, [published], counterparts)
    joined = join_published(
        ours,
        published,
        keys=_KEYS,
        values=[*_PUBLISHED_VALUES, "note"],
        counterparts=counterparts,
    ).join(names)
    return joined[
        [
            *_KEYS,
            "length_ratio",
            *_PUBLISHED_VALUES,
            *(f"{value}_published" for value in _PUBLISHED_VALUES),
            "runs",
            *_INTEGRALS,
            *(f"{value}_{end}" for value in _OWN_VALUES for end in ("low", "high")),
            "published_dataset",
            "published_network",
            "note_published",
        ]
    ]


def _with_perplexity(evaluated: EvaluatedCurve) -> pd.DataFrame:
    check_grid(evaluated.grid, [f"{part}_nll" for part in PARTS], evaluated.where)
    with np.errstate(over="ignore"):
        return evaluated.grid.assign(
            **{f"{part}_perplexity": np.exp(evaluated.grid[f"{part}_nll"]) for part in PARTS}
        )


def _over_runs(summaries: pd.DataFrame) -> pd.DataFrame:
    """Average the runs of each row; data sets and networks stay in the order they came in."""
    known = {"curve": CURVES}
    for key in _KEYS:
        names = dict.fromkeys((*known.get(key, ()), *summaries[key]))
        summaries[key] = pd.Categorical(summaries[key], list(names))
    rows = []
    for keys, runs in summaries.groupby(list(_KEYS), observed=True):
        row = dict(zip(_KEYS, keys, strict=True)) | {"runs": len(runs)}
        for value in _OWN_VALUES:
            row[value] = runs[value].mean()
            # Neither a perplexity nor a length ratio is below one, whatever few runs say.
            row[f"{value}_low"], row[f"{value}_high"] = np.maximum(1.0, t_interval([*runs[value]]))
        rows.append(row)
    bounds = [f"{value}_{end}" for value in _OWN_VALUES for end in ("low", "high")]
    return pd.DataFrame(rows, columns=[*_KEYS, "runs", *_OWN_VALUES, *bounds])


TABLE3_LAYOUT = Layout(
    title="Garipov et al. 2018, Table 3: perplexity along the curves of a language model",
    labels=(
        Column("dataset", "Data set"),
        Column("network", "Network"),
        Column("curve", "Curve"),
    ),
    columns=(
        Column("length_ratio", "Length ratio", decimals=2),
        *(
            Column(f"{part}_perplexity_{label.lower()}", label, f"{part.title()} perplexity", 1)
            for part in PARTS
            for label in ("Min", "Max")
        ),
        Column("runs", "Runs"),
    ),
    legend="In brackets, where there are several runs: nominal 95 % intervals over them "
    "(Student's t).",
    published_setting=("published_dataset", "published_network"),
    notes=("note_published",),
)
