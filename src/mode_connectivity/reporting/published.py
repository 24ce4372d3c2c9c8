"""The papers' numbers: loaded, checked, put beside ours, and searched for contradictions.

The files keep the numbers as printed, misprints included; a row's ``note`` says what is suspected.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mode_connectivity.settings import UserError, nearest

PUBLISHED_DIRECTORY = Path(__file__).parents[3] / "resources" / "published"

CURVES = ("Single", "Segment", "Bezier", "Polychain", "Aligned segment")
"""In the order of tables; nothing is published of aligned segments beside the others."""
TABLE2_VALUES = (
    "length_ratio",
    *(
        f"{metric}_{statistic}"
        for metric in ("train_loss", "train_error", "test_error")
        for statistic in ("min", "int", "max")
    ),
)
REFERENCE_CODE_VALUES = ("train_loss_min", "train_loss_max", "test_error_min", "test_error_max")

Pair = tuple[str, str]
"""A data set and a network, as the tables name them."""


@dataclass(frozen=True)
class PublishedFormat:
    """The columns of a file of published numbers; ``source`` and ``note`` follow the values.

    Attributes:
        keys: columns that together name a row.
        values: columns of numbers; a cell may be empty.
        integers: those of the above that hold whole numbers.
    """

    keys: tuple[str, ...]
    values: tuple[str, ...]
    integers: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the order of the file."""
        return (*self.keys, *self.values, "source", "note")


FORMATS: Mapping[str, PublishedFormat] = {
    "garipov2018_table1": PublishedFormat(
        keys=("dataset", "network", "method", "budget"),
        values=("budget_epochs", "members", "test_error"),
        integers=("budget", "budget_epochs", "members"),
    ),
    "garipov2018_table2": PublishedFormat(
        keys=("dataset", "network", "curve"), values=TABLE2_VALUES
    ),
    "garipov2018_table2_reference_code": PublishedFormat(
        keys=("dataset", "network", "curve"), values=REFERENCE_CODE_VALUES
    ),
    "garipov2018_table3": PublishedFormat(
        keys=("dataset", "network", "curve"),
        values=tuple(
            f"{split}_perplexity_{statistic}"
            for split in ("train", "validation", "test")
            for statistic in ("min", "max")
        ),
    ),
    "garipov2018_curve_ensemble": PublishedFormat(
        keys=("dataset", "network", "ensemble"),
        values=("members", "test_error"),
        integers=("members",),
    ),
    "garipov2018_imagenet": PublishedFormat(
        keys=("dataset", "network", "method"),
        values=("epochs", "members", "test_error"),
        integers=("epochs", "members"),
    ),
    "benton2021_figure8": PublishedFormat(
        keys=("dataset", "network", "method", "components"),
        values=("test_error",),
        integers=("components",),
    ),
    "benton2021_figure_a7": PublishedFormat(
        keys=("dataset", "network", "method", "components"),
        values=("seconds", "test_error"),
        integers=("components",),
    ),
    # The middle of a segment: points of accuracy that it falls behind the mean of its ends, and by
    # how much its loss exceeds theirs.
    "jordan2022_repair": PublishedFormat(
        keys=("dataset", "network", "width", "alignment", "renormalised"),
        values=("accuracy_drop", "loss_barrier"),
    ),
}


def load_published(name: str, directory: Path = PUBLISHED_DIRECTORY) -> pd.DataFrame:
    """Load the published numbers called ``name`` and check them.

    Args:
        name: a key of ``FORMATS``, which is also the file's name without ``.csv``.
        directory: where the files lie.

    Returns:
        One row a published row: keys as text, values as floats (NaN where the paper prints none),
        whole numbers as nullable integers, ``source`` and ``note`` as text.

    Raises:
        UserError: unknown name, missing file, or a file that breaks its format; all mistakes of a
            file at once.
    """
    if name not in FORMATS:
        raise UserError(
            f"published numbers: {name!r} unknown; known: {', '.join(FORMATS)}"
            f"{nearest(name, FORMATS)}"
        )
    path = directory / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such file; it comes with the repository, restore it there")
    layout = FORMATS[name]
    text = _read_text(path, layout)
    mistakes = list(_mistakes(text, layout))
    if mistakes:
        raise UserError("\n".join(f"{path}: {mistake}" for mistake in mistakes))

    frame = text.copy()
    for column in (*layout.values, *layout.integers):
        numbers = _numbers(text[column])
        frame[column] = numbers.astype("Int64") if column in layout.integers else numbers
    return frame


def _read_text(path: Path, layout: PublishedFormat) -> pd.DataFrame:
    """Read all cells as text. Pandas would take surplus cells for an index, so it does not read."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if tuple(header) != layout.columns:
        raise UserError(
            f"{path}: columns {', '.join(header)}; "
            f"these are allowed, in this order: {', '.join(layout.columns)}"
        )
    mistakes = [
        f"{path}: line {line}: {len(row)} cells; {len(header)} are allowed, text with commas in "
        "quotation marks"
        for line, row in enumerate(rows, start=2)
        if len(row) != len(header)
    ]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return pd.DataFrame(rows, columns=header, dtype=str)


def _numbers(text: pd.Series) -> pd.Series:
    return pd.to_numeric(text.where(text != ""), errors="coerce").astype(float)


def _mistakes(text: pd.DataFrame, layout: PublishedFormat) -> Iterator[str]:
    for column in dict.fromkeys((*layout.values, *layout.integers)):
        numbers = _numbers(text[column])
        wrong = (text[column] != "") & ~np.isfinite(numbers)
        if column in layout.integers:
            wrong |= numbers.notna() & (numbers % 1 != 0)
        kind = "a whole number" if column in layout.integers else "a number"
        for row in np.flatnonzero(wrong):
            yield f"line {row + 2}, {column}: found {text[column].iloc[row]!r}; write {kind}"
    for column in (*layout.keys, "source"):
        for row in np.flatnonzero(text[column].str.strip() == ""):
            yield f"line {row + 2}, {column}: empty; every row names its {column}"
    for row in np.flatnonzero(text.duplicated(subset=list(layout.keys))):
        yield (
            f"line {row + 2}: a second row for "
            f"{', '.join(str(text[key].iloc[row]) for key in layout.keys)}; keep one"
        )


def join_published(
    ours: pd.DataFrame,
    published: pd.DataFrame,
    *,
    keys: Sequence[str],
    values: Sequence[str],
    suffix: str = "published",
    counterparts: Mapping[Pair, Pair] | None = None,
) -> pd.DataFrame:
    """Put published values beside our rows.

    Args:
        ours: our rows, with the columns ``keys``.
        published: published rows, with the columns ``keys`` and ``values``, a row a key.
        keys: columns in which a row of ours and a published one agree.
        values: columns to bring over.
        suffix: ``column`` comes over as ``{column}_{suffix}``.
        counterparts: our (data set, network) -> the paper's, for rows of ours that imitate a row of
            the paper without being it. Use ``name_published`` to say so in the table.

    Returns:
        Our columns and rows, unchanged and in their order, then the published columns; cells are
        empty where the paper has no such row.
    """
    lookup = ours[list(keys)].reset_index(drop=True)
    if counterparts:
        pairs = _counterparts_of(ours, counterparts)
        lookup["dataset"] = [dataset for dataset, _ in pairs]
        lookup["network"] = [network for _, network in pairs]
    found = lookup.merge(
        published[[*keys, *values]], on=list(keys), how="left", validate="many_to_one"
    )
    joined = ours.reset_index(drop=True)
    for value in values:
        joined[f"{value}_{suffix}"] = found[value]
    return joined


def name_published(
    ours: pd.DataFrame,
    published: Iterable[pd.DataFrame],
    counterparts: Mapping[Pair, Pair] | None = None,
) -> pd.DataFrame:
    """Name, for each row of ours, the published data set and network that it is held against.

    Args:
        ours: our rows, with ``dataset`` and ``network``.
        published: the published tables that are put beside them.
        counterparts: as in ``join_published``.

    Returns:
        ``published_dataset`` and ``published_network``, a row a row of ours; empty where nothing
        is published.

    Raises:
        UserError: a counterpart that none of the published tables has.
    """
    known = {
        pair
        for frame in published
        for pair in frame[["dataset", "network"]].itertuples(index=False, name=None)
    }
    names = [" / ".join(pair) for pair in sorted(known)]
    for own, counterpart in (counterparts or {}).items():
        if counterpart not in known:
            found = " / ".join(counterpart)
            raise UserError(
                f"counterpart of {' / '.join(own)}: {found!r} is not published; "
                f"published: {', '.join(names)}{nearest(found, names)}"
            )
    pairs = [
        pair if pair in known else (None, None)
        for pair in _counterparts_of(ours, counterparts or {})
    ]
    return pd.DataFrame(pairs, columns=["published_dataset", "published_network"])


def _counterparts_of(ours: pd.DataFrame, counterparts: Mapping[Pair, Pair]) -> list[Pair]:
    pairs = zip(ours["dataset"], ours["network"], strict=True)
    return [counterparts.get(pair, pair) for pair in pairs]


def lint_published(directory: Path = PUBLISHED_DIRECTORY) -> pd.DataFrame:
    """Search every published table of minima and maxima along paths for contradictions.

    Args:
        directory: where the files lie.

    Returns:
        The rows of ``contradictions`` of each, with the ``table`` that they are of.
    """
    found = [
        contradictions(load_published(name, directory)).assign(table=name)
        for name, layout in FORMATS.items()
        if layout.keys[-1] == "curve"
    ]
    frame = pd.concat(found, ignore_index=True)
    return frame[["table", *frame.columns.drop("table")]]


def contradictions(
    frame: pd.DataFrame, *, tolerance: float = 0.0, outlier_margin: float = 1.0
) -> pd.DataFrame:
    """Find what cannot be true, or hardly, in a table of minima and maxima along curves.

    Both ends of a path lie on it. So the path's minimum is at most the smaller, and its maximum at
    least the larger, of the values in the row ``Single`` of the same data set and network. A path
    is no shorter than the segment; minimum, integral and maximum are ordered. Hardly true, and
    reported too: a test error that rises far above the ends' where the train error does not.

    Args:
        frame: columns ``dataset``, ``network``, ``curve``, and for every metric ``{metric}_min``
            and ``{metric}_max``; ``{metric}_int`` and ``length_ratio`` are checked where present.
        tolerance: how far a value may lie on the wrong side of another.
        outlier_margin: percentage points that the test error may rise above the ends' without a
            rise of the train error. One point is more than the sampling error of 10,000 test
            images (0.85 points at an error of 25 %); smaller test sets need more.

    Returns:
        One row a contradiction: ``dataset, network, curve, column, value, problem``.
    """
    metrics = [
        column.removesuffix("_min")
        for column in frame.columns
        if column.endswith("_min") and f"{column.removesuffix('_min')}_max" in frame.columns
    ]
    found: list[tuple[object, ...]] = []
    for _, rows in frame.groupby(["dataset", "network"], sort=False):
        single = rows[rows["curve"] == "Single"]
        ends = single.iloc[0] if len(single) else None
        for _, row in rows.iterrows():
            found += [
                (row["dataset"], row["network"], row["curve"], column, row[column], problem)
                for column, problem in _problems(row, ends, metrics, tolerance, outlier_margin)
            ]
    return pd.DataFrame(
        found, columns=["dataset", "network", "curve", "column", "value", "problem"]
    )


def _problems(
    row: pd.Series,
    ends: pd.Series | None,
    metrics: Sequence[str],
    tolerance: float,
    outlier_margin: float,
) -> Iterator[tuple[str, str]]:
    """Yield the column and the problem; comparisons with an empty cell (NaN) are false."""
    for metric in metrics:
        low, high = row[f"{metric}_min"], row[f"{metric}_max"]
        integral = row.get(f"{metric}_int", np.nan)
        if low > high + tolerance:
            yield f"{metric}_min", f"above {metric}_max {high:g}"
        if integral < min(low, high) - tolerance or integral > max(low, high) + tolerance:
            yield f"{metric}_int", f"outside of {metric}_min {low:g} and {metric}_max {high:g}"
        if ends is None or row["curve"] == "Single":
            continue
        if low > ends[f"{metric}_min"] + tolerance:
            yield f"{metric}_min", f"above the better end of the path, {ends[f'{metric}_min']:g}"
        if high < ends[f"{metric}_max"] - tolerance:
            yield f"{metric}_max", f"below the worse end of the path, {ends[f'{metric}_max']:g}"

    ratio = row.get("length_ratio", np.nan)
    if ratio < 1 - tolerance:
        yield "length_ratio", "a path shorter than the segment"
    if row["curve"] == "Segment" and ratio > 1 + tolerance:
        yield "length_ratio", "a segment longer than itself"

    if (
        ends is not None
        and {"train_error", "test_error"} <= set(metrics)
        and row["train_error_max"] <= ends["train_error_max"]
        and row["test_error_max"] > ends["test_error_max"] + outlier_margin
    ):
        yield (
            "test_error_max",
            f"far above the worse end of the path, {ends['test_error_max']:g}, "
            "where the train error does not rise",
        )
