"""A table as files: CSV for programs, Markdown for the screen, LaTeX for a paper.

What stands beside a value is found by the names of the frame's columns: ``{name}_low`` and
``{name}_high`` are its interval, ``{name}_runs`` the number of its runs, ``{name}_bound`` says that
the true value is not below (``lower``) or not above it (``upper``), ``{name}_published`` and
``{name}_reference_code`` are the published values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from mode_connectivity.files import write_text

MISSING = "–"

# Suffix of the columns, name in LaTeX, and how Markdown encloses the value.
PUBLISHED = (
    ("published", "published", "({})"),
    ("reference_code", "reference code", "{{{}}}"),
)

_BOUNDS = {"lower": "≥ ", "upper": "≤ "}
_TEX_SYMBOLS = {"-": "$-$", "∞": r"$\infty$", "≥": r"$\geq$", "≤": r"$\leq$", MISSING: "--"}
_TEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    # A bracket that opens a row would be read as an argument of the line break before it.
    "[": "{[}",
    MISSING: "--",
}


@dataclass(frozen=True)
class Column:
    """One column of a rendered table.

    Attributes:
        name: column of the frame.
        label: header.
        group: header that spans neighbouring columns of the same group.
        decimals: of our value; None for text and whole numbers.
    """

    name: str
    label: str
    group: str = ""
    decimals: int | None = None

    @property
    def title(self) -> str:
        """Header on one line."""
        return f"{self.group}, {self.label}" if self.group else self.label


@dataclass(frozen=True)
class Pivot:
    """How a long frame is shown wide, as in Garipov et al. 2018, Table 1.

    Each row of the frame becomes a cell: the layout's only column, with the number of runs beside
    it. The smallest value of a column within a section (rows of one first label) is in bold.

    Attributes:
        group: column of the frame whose values head groups of columns.
        label: column whose values head the columns of a group, in ascending order.
        label_format: how they are written.
        runs: column with the number of runs.
    """

    group: str
    label: str
    label_format: str = "{}"
    runs: str = "runs"


@dataclass(frozen=True)
class Layout:
    """How a table is shown; columns of the frame that it does not name are in the CSV only.

    Attributes:
        title: heading.
        labels: text columns that name a row. In LaTeX the first heads a section and the second
            is shown when it changes, as in Garipov et al. 2018, Table 2.
        columns: the other columns.
        legend: what the reader must know, below the table.
        published_setting: columns that name the setting of the published values of a row; shown
            where it is not that of ``labels``.
        notes: columns of remarks on the published values, shown as footnotes.
        pivot: shows the frame wide.
        details: a second table of the same frame, without notes, below the first in Markdown.
    """

    title: str
    labels: tuple[Column, ...]
    columns: tuple[Column, ...]
    legend: str = ""
    published_setting: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pivot: Pivot | None = None
    details: "Layout | None" = None

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise ValueError(f"{self.title}: {len(self.labels)} label columns; at least two")
        if self.pivot and len(self.columns) != 1:
            raise ValueError(f"{self.title}: {len(self.columns)} columns to pivot; exactly one")

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Labels, then the other columns."""
        return (*self.labels, *self.columns)


def write_table(frame: pd.DataFrame, layout: Layout, stem: Path) -> None:
    """Write ``{stem}.csv``, ``{stem}.md`` and ``{stem}.tex``, each atomically.

    Args:
        frame: the table; all its columns go to the CSV, in full precision.
        layout: what Markdown and LaTeX show of it.
        stem: path without suffix; its folder is made if needed.
    """
    for suffix, text in (
        (".csv", to_csv(frame)),
        (".md", to_markdown(frame, layout)),
        (".tex", to_latex(frame, layout)),
    ):
        write_text(stem.with_name(stem.name + suffix), text)


def to_csv(frame: pd.DataFrame) -> str:
    """Render as CSV: the shortest digits that read back as the same number; empty if missing."""
    return frame.to_csv(index=False, lineterminator="\n")


def to_markdown(frame: pd.DataFrame, layout: Layout) -> str:
    """Render as Markdown: in each cell our value, its interval, and the published values."""
    text = _markdown_table(frame, layout, "#")
    if layout.details:
        text += "\n" + _markdown_table(frame, layout.details, "##")
    return text


def _markdown_table(frame: pd.DataFrame, layout: Layout, heading: str) -> str:
    frame, layout = _widened(frame, layout)
    settings = _published_settings(frame, layout)
    shows_settings = any(settings)
    notes = _Notes(frame, layout)
    header = [column.title for column in layout.all_columns]
    lines = []
    for index, (_, row) in enumerate(frame.iterrows()):
        cells = [_text(row[column.name], column) for column in layout.labels]
        cells[-1] += "".join(f" [^{mark}]" for mark in notes.marks[index])
        cells += [_beside(row, column) for column in layout.columns]
        if shows_settings:
            cells.append(settings[index])
        lines.append([cell.replace("|", "\\|") for cell in cells])
    if shows_settings:
        header.append("Published for")
    numeric = [False] * len(layout.labels) + [c.decimals is not None for c in layout.columns]
    numeric += [False] * shows_settings

    widths = [max(3, *map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in zip(widths, numeric, strict=True)
    ]
    text = [f"{heading} {layout.title}", ""]
    for cells in (header, rule, *lines):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        text.append(f"| {' | '.join(padded)} |")
    text += ["", " ".join(filter(None, [_markdown_reading(frame, layout), layout.legend]))]
    if notes.texts:
        text += ["", *(f"[^{mark}]: {note}" for mark, note in enumerate(notes.texts, start=1))]
    return "\n".join(text) + "\n"


def to_latex(frame: pd.DataFrame, layout: Layout) -> str:
    r"""Render as LaTeX, for ``\input`` into a document or a table float; needs booktabs only.

    The first label heads a section, the second is shown when it changes; published values stand in
    rows of their own below ours.
    """
    frame, layout = _widened(frame, layout)
    shown = layout.all_columns[1:]
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join('l' if _is_text(layout, c) else 'r' for c in shown)}}}",
        r"\toprule",
        *_latex_header(shown),
    ]
    settings = _published_settings(frame, layout)
    notes = _Notes(frame, layout)
    previous: list[str] = []
    for index, (_, row) in enumerate(frame.iterrows()):
        labels = [_text(row[column.name], column) for column in layout.labels]
        names = [_escape(label) for label in labels[1:]]
        if labels[:1] != previous[:1]:
            heading = rf"\multicolumn{{{len(shown)}}}{{c}}{{{_escape(labels[0])}}} \\"
            lines += [r"\midrule", heading, r"\midrule"]
        elif len(labels) > 2 and labels[:2] != previous[:2]:
            lines.append(r"\addlinespace")
        elif len(labels) > 2:
            names[0] = ""
        previous = labels
        names[-1] += "".join(rf"\textsuperscript{{{mark}}}" for mark in notes.marks[index])
        cells = [_latex_own(row, column) for column in layout.columns]
        lines.append(" & ".join([*names, *cells]) + r" \\")
        for suffix, label, _ in PUBLISHED:
            values = [_latex_published(row, column, suffix) for column in layout.columns]
            if any(values):
                place = f"{label}: {settings[index]}" if settings[index] else label
                names = [""] * (len(layout.labels) - 2) + [rf"\quad\textit{{{_escape(place)}}}"]
                lines.append(" & ".join([*names, *values]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    remarks = [_escape(layout.legend)] if layout.legend else []
    remarks += [
        rf"\textsuperscript{{{mark}}} {_escape(note)}."
        for mark, note in enumerate(notes.texts, start=1)
    ]
    lines += [rf"\par{{\footnotesize {remark}\par}}" for remark in remarks]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class HeadingCell:
    """A cell above the columns of a table: its text, and how many columns and rows it spans."""

    text: str
    columns: int = 1
    rows: int = 1


@dataclass(frozen=True)
class PublishedValue:
    """A published value: whose it is, as it was printed, whether it is the best of its column."""

    source: str
    text: str
    is_best: bool = False


@dataclass(frozen=True)
class TableCell:
    """A cell of a table in the parts of which it is shown.

    Attributes:
        text: our value, or a label.
        is_label: whether it names the row.
        is_repeated: whether the row above has the same label there.
        is_number: whether it is aligned as a number.
        is_best: whether our value is the smallest of its column.
        beside: its interval and number of runs.
        published: what it stands beside.
        marks: numbers of footnotes.
    """

    text: str
    is_label: bool = False
    is_repeated: bool = False
    is_number: bool = False
    is_best: bool = False
    beside: str = ""
    published: tuple[PublishedValue, ...] = ()
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class TableView:
    """A table in parts, for whoever lays it out on a page.

    Attributes:
        title: heading.
        headings: one or two rows of cells above the columns.
        rows: the cells of each row.
        legend: what the reader must know.
        notes: footnotes, the first with number one.
        details: a further table of the same rows.
    """

    title: str
    headings: tuple[tuple[HeadingCell, ...], ...]
    rows: tuple[tuple[TableCell, ...], ...]
    legend: str
    notes: tuple[str, ...]
    details: "TableView | None" = None


def view_table(frame: pd.DataFrame, layout: Layout) -> TableView:
    """Return what Markdown shows of a table, in parts.

    Args:
        frame: the table.
        layout: what is shown of it.
    """
    wide, shown = _widened(frame, layout)
    settings = _published_settings(wide, shown)
    notes = _Notes(wide, shown)
    rows: list[tuple[TableCell, ...]] = []
    previous: list[str] = []
    for index, (_, row) in enumerate(wide.iterrows()):
        labels = [_text(row[column.name], column) for column in shown.labels]
        cells = [
            TableCell(
                text,
                is_label=True,
                is_repeated=labels[: place + 1] == previous[: place + 1],
                marks=tuple(notes.marks[index]) if place == len(labels) - 1 else (),
            )
            for place, text in enumerate(labels)
        ]
        cells += [_cell(row, column) for column in shown.columns]
        if any(settings):
            cells.append(TableCell(settings[index]))
        rows.append(tuple(cells))
        previous = labels
    return TableView(
        layout.title,
        _headings(shown, further=("Published for",) if any(settings) else ()),
        tuple(rows),
        layout.legend,
        tuple(notes.texts),
        view_table(frame, layout.details) if layout.details else None,
    )


def _cell(row: pd.Series, column: Column) -> TableCell:
    published = [
        PublishedValue(label, text, _is_best(row, f"{column.name}_{suffix}"))
        for suffix, label, _ in PUBLISHED
        if (text := _published(row, column, suffix))
    ]
    return TableCell(
        _own(row, column),
        is_number=column.decimals is not None,
        is_best=_is_best(row, column.name),
        beside=", ".join(filter(None, [_interval(row, column), _runs(row, column)])),
        published=tuple(published),
    )


def _headings(layout: Layout, further: tuple[str, ...]) -> tuple[tuple[HeadingCell, ...], ...]:
    """Return the rows above the columns: groups, and below them the columns of each."""
    columns = layout.all_columns
    if not any(column.group for column in columns):
        return (tuple(HeadingCell(text) for text in (*(c.label for c in columns), *further)),)
    upper: list[HeadingCell] = []
    lower: list[HeadingCell] = []
    for group, members in groupby(columns, key=lambda column: column.group):
        labels = [column.label for column in members]
        if group:
            upper.append(HeadingCell(group, columns=len(labels)))
            lower += map(HeadingCell, labels)
        else:
            upper += [HeadingCell(label, rows=2) for label in labels]
    upper += [HeadingCell(text, rows=2) for text in further]
    return tuple(upper), tuple(lower)


class _Notes:
    """Numbered footnotes; the same remark has the same number."""

    def __init__(self, frame: pd.DataFrame, layout: Layout) -> None:
        of_rows = [
            list(
                dict.fromkeys(
                    row[name] for name in layout.notes if pd.notna(row[name]) and row[name]
                )
            )
            for _, row in frame.iterrows()
        ]
        self.texts = list(dict.fromkeys(note for notes in of_rows for note in notes))
        self.marks = [[self.texts.index(note) + 1 for note in notes] for notes in of_rows]


def _widened(frame: pd.DataFrame, layout: Layout) -> tuple[pd.DataFrame, Layout]:
    """Apply the layout's pivot: a row a combination of labels, a column a group and label."""
    pivot = layout.pivot
    if pivot is None:
        return frame, layout
    (value,) = layout.columns
    beside = [name for name in map(str, frame) if f"{name}_".startswith(f"{value.name}_")]
    with_group = replace(layout, labels=(Column(pivot.group, ""), *layout.labels))
    columns: dict[tuple[str, Any], Column] = {}
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    settings: dict[tuple[str, ...], dict[str, None]] = {}
    for setting, (_, row) in zip(
        _published_settings(frame, with_group), frame.iterrows(), strict=True
    ):
        group, label = str(row[pivot.group]), row[pivot.label]
        name = f"{group}, {label}"
        columns[group, label] = Column(
            name, pivot.label_format.format(label), group, value.decimals
        )
        labels = tuple(str(row[column.name]) for column in layout.labels)
        cells = rows.setdefault(labels, {})
        cells |= {name + column.removeprefix(value.name): row[column] for column in beside}
        cells |= {f"{name}, {note}": row[note] for note in layout.notes}
        cells[f"{name}_runs"] = row[pivot.runs]
        if setting:
            settings.setdefault(labels, {})[f"{group}: {setting}"] = None

    sections = list(dict.fromkeys(labels[0] for labels in rows))
    wide = pd.DataFrame(
        [
            dict(zip((column.name for column in layout.labels), labels, strict=True))
            | rows[labels]
            | {"published_for": "; ".join(settings.get(labels, {})) or None}
            for labels in sorted(rows, key=lambda labels: sections.index(labels[0]))
        ]
    )
    groups = list(dict.fromkeys(group for group, _ in columns))
    shown = sorted(columns, key=lambda key: (groups.index(key[0]), key[1]))
    for column in columns.values():
        for name in (column.name, f"{column.name}_published"):
            if name in wide:
                _mark_smallest(wide, name, wide[layout.labels[0].name], value.decimals)
    return wide, replace(
        layout,
        columns=tuple(columns[key] for key in shown),
        published_setting=("published_for",),
        notes=tuple(f"{columns[key].name}, {note}" for key in shown for note in layout.notes),
        pivot=None,
    )


def _mark_smallest(
    frame: pd.DataFrame, name: str, section: pd.Series, decimals: int | None
) -> None:
    """Add ``{name}_best``: which values, as printed, are the smallest of several in a section."""
    printed = frame[name].astype(float).round(decimals or 0)
    of_section = printed.groupby(section)
    frame[f"{name}_best"] = (printed == of_section.transform("min")) & (
        of_section.transform("count") > 1
    )


def _published_settings(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Name the setting of each row's published values, where it is not the row's own."""
    names: list[str] = []
    for _, row in frame.iterrows():
        own = [str(row[column.name]) for column in layout.labels]
        setting = [str(row[column]) for column in layout.published_setting if pd.notna(row[column])]
        names.append("" if setting == own[: len(setting)] else ", ".join(setting))
    return names


def _beside_columns(frame: pd.DataFrame, layout: Layout, suffix: str) -> bool:
    names = [f"{column.name}_{suffix}" for column in layout.columns]
    return any(frame[name].notna().any() for name in names if name in frame)


def _markdown_reading(frame: pd.DataFrame, layout: Layout) -> str:
    parts = ["our value"]
    if _beside_columns(frame, layout, "low"):
        parts.append("[its interval]")
    if _beside_columns(frame, layout, "runs"):
        parts.append("n = number of runs")
    for suffix, label, enclosed in PUBLISHED:
        if _beside_columns(frame, layout, suffix):
            parts.append(enclosed.format(label))
    return f"Each cell: {', '.join(parts)}." if len(parts) > 1 else ""


def _latex_header(columns: Sequence[Column]) -> Iterator[str]:
    if any(column.group for column in columns):
        cells, rules, start = [], [], 1
        for group, members in groupby(columns, key=lambda column: column.group):
            width = len(list(members))
            if group:
                cells.append(rf"\multicolumn{{{width}}}{{c}}{{{_escape(group)}}}")
                rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
            else:
                cells += [""] * width
            start += width
        yield " & ".join(cells) + r" \\"
        yield " ".join(rules)
    yield " & ".join(_escape(column.label) for column in columns) + r" \\"


def _is_text(layout: Layout, column: Column) -> bool:
    return column in layout.labels or column.decimals is None


def _text(value: Any, column: Column) -> str:
    if pd.isna(value):
        return MISSING
    if column.decimals is None:
        return str(value)
    return f"{value:.{column.decimals}f}".replace("inf", "∞")


def _interval(row: pd.Series, column: Column) -> str:
    low, high = row.get(f"{column.name}_low"), row.get(f"{column.name}_high")
    if pd.isna(low) or pd.isna(high):
        return ""
    return f"[{_text(low, column)}, {_text(high, column)}]"


def _published(row: pd.Series, column: Column, suffix: str) -> str:
    """Return the published value with the digits it was printed with, less trailing zeros."""
    value = row.get(f"{column.name}_{suffix}")
    return "" if pd.isna(value) else f"{value:g}"


def _own(row: pd.Series, column: Column) -> str:
    bound = row.get(f"{column.name}_bound")
    return ("" if pd.isna(bound) else _BOUNDS[bound]) + _text(row[column.name], column)


def _runs(row: pd.Series, column: Column) -> str:
    runs = row.get(f"{column.name}_runs")
    return "" if pd.isna(runs) else f"n = {int(runs)}"


def _is_best(row: pd.Series, name: str) -> bool:
    return bool(row.get(f"{name}_best", False))


def _beside(row: pd.Series, column: Column) -> str:
    own = _own(row, column)
    if _is_best(row, column.name):
        own = f"**{own}**"
    parts = [own, ", ".join(filter(None, [_interval(row, column), _runs(row, column)]))]
    for suffix, _, enclosed in PUBLISHED:
        value = _published(row, column, suffix)
        if value and _is_best(row, f"{column.name}_{suffix}"):
            value = f"**{value}**"
        parts.append(enclosed.format(value) if value else "")
    return " ".join(part for part in parts if part)


def _latex_own(row: pd.Series, column: Column) -> str:
    if column.decimals is None:
        return _escape(_text(row[column.name], column))
    value = _latex_number(_own(row, column))
    if _is_best(row, column.name):
        value = rf"\textbf{{{value}}}"
    beside = ", ".join(filter(None, [_latex_number(_interval(row, column)), _runs(row, column)]))
    return rf"{value} {{\scriptsize {beside}}}" if beside else value


def _latex_published(row: pd.Series, column: Column, suffix: str) -> str:
    value = _latex_number(_published(row, column, suffix))
    best = value and _is_best(row, f"{column.name}_{suffix}")
    return rf"\textbf{{{value}}}" if best else value


def _latex_number(text: str) -> str:
    return "".join(_TEX_SYMBOLS.get(character, character) for character in text)


def _escape(text: str) -> str:
    return "".join(_TEX_SPECIAL.get(character, character) for character in text)
