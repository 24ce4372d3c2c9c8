import csv
import io
import re

import numpy as np
import pandas as pd
import pytest

from mode_connectivity.reporting.rendering import (
    Column,
    Layout,
    Pivot,
    to_csv,
    to_latex,
    to_markdown,
    view_table,
    write_table,
)

LAYOUT = Layout(
    title="Errors",
    labels=(Column("dataset", "Data set"), Column("network", "Network"), Column("curve", "Curve")),
    columns=(
        Column("ratio", "Ratio", decimals=2),
        Column("loss_min", "Min", "Loss", 3),
        Column("loss_max", "Max", "Loss", 3),
        Column("runs", "Runs"),
    ),
    legend="Said of the table.",
    published_setting=("published_dataset", "published_network"),
    notes=("note",),
)


def table():
    return pd.DataFrame(
        {
            "dataset": ["CIFAR-10", "CIFAR-10", "CIFAR-10", "R&D_50%"],
            "network": ["VGG-16", "VGG-16", "LeNet", "A|B"],
            "curve": ["Single", "Bezier", "Single", "Single"],
            "ratio": [np.nan, 1.23456, np.nan, np.nan],
            "loss_min": [0.1, 1 / 3, 2.0, -0.5],
            "loss_min_low": [np.nan, 0.25, np.nan, np.nan],
            "loss_min_high": [np.nan, 0.5, np.nan, np.nan],
            "loss_max": [0.2, np.inf, 3.0, 0.5],
            "loss_min_published": [0.0498, 0.07, np.nan, 90.0],
            "ratio_published": [np.nan, 1.3, np.nan, np.nan],
            "loss_max_reference_code": [np.nan, 0.89, np.nan, np.nan],
            "runs": [1, 2, 1, 1],
            "published_dataset": ["CIFAR-10", "CIFAR-10", None, "CIFAR-100"],
            "published_network": ["VGG-16", "VGG-16", None, "VGG-16"],
            "note": ["", "50% off", None, "50% off"],
        }
    )


def markdown_cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def latex_rows(text):
    """The cells of each row of the tabular, a spanning cell as often as it spans."""
    body = text[text.index(r"\toprule") : text.index(r"\end{tabular}")]
    rows = []
    for line in body.splitlines():
        if not line.endswith(r" \\"):
            continue
        cells = []
        for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\")):
            span = re.match(r"\s*\\multicolumn\{(\d+)\}", cell)
            cells += [cell.strip()] * (int(span[1]) if span else 1)
        rows.append(cells)
    return rows


def test_csv_reads_back_as_the_same_numbers():
    frame = table()
    frame["loss_min"] = [0.1 + 0.2, 1 / 3, 1e-17, -0.0]
    frame["members"] = pd.array([1, None, 3, 4], dtype="Int64")
    text = to_csv(frame)
    back = list(csv.DictReader(io.StringIO(text)))
    for column in ("loss_min", "loss_max", "ratio", "members"):
        numbers = [float(row[column] or "nan") for row in back]
        np.testing.assert_array_equal(numbers, frame[column].astype(float))
    assert text.splitlines()[0] == ",".join(frame)
    assert text.splitlines()[2].endswith(",")
    assert "\r" not in text


def test_markdown_cells():
    header, rule, *rows = markdown_cells(to_markdown(table(), LAYOUT))
    assert header == [
        "Data set",
        "Network",
        "Curve",
        "Ratio",
        "Loss, Min",
        "Loss, Max",
        "Runs",
        "Published for",
    ]
    assert [cell.endswith(":") for cell in rule] == [False] * 3 + [True] * 3 + [False] * 2
    assert rows[0] == ["CIFAR-10", "VGG-16", "Single", "–", "0.100 (0.0498)", "0.200", "1", ""]
    assert rows[1] == [
        "CIFAR-10",
        "VGG-16",
        "Bezier [^1]",
        "1.23 (1.3)",
        "0.333 [0.250, 0.500] (0.07)",
        "∞ {0.89}",
        "2",
        "",
    ]
    assert rows[2] == ["CIFAR-10", "LeNet", "Single", "–", "2.000", "3.000", "1", ""]
    assert rows[3][1] == r"A\|B"
    assert rows[3][4] == "-0.500 (90)"
    assert rows[3][-1] == "CIFAR-100, VGG-16"


def test_markdown_says_how_to_read_it():
    text = to_markdown(table(), LAYOUT)
    assert text.startswith("# Errors\n")
    assert (
        "Each cell: our value, [its interval], (published), {reference code}. Said of the table."
        in text
    )
    assert text.endswith("\n\n[^1]: 50% off\n")


def test_markdown_explains_only_what_it_shows():
    plain = table()[["dataset", "network", "curve", "ratio", "loss_min", "loss_max", "runs"]]
    text = to_markdown(plain, Layout("Errors", LAYOUT.labels, LAYOUT.columns))
    assert "Each cell" not in text
    assert "[^" not in text
    assert len(markdown_cells(text)[0]) == 7


def test_markdown_columns_are_aligned():
    lines = [line for line in to_markdown(table(), LAYOUT).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


def test_latex_rows_have_as_many_cells_as_columns():
    text = to_latex(table(), LAYOUT)
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1]
    assert columns == "llrrrl"
    rows = latex_rows(text)
    assert {len(row) for row in rows} == {6}
    assert rows[0] == ["", "", "", *[r"\multicolumn{2}{c}{Loss}"] * 2, ""]
    assert r"\cmidrule(lr){4-5}" in text
    assert rows[1] == ["Network", "Curve", "Ratio", "Min", "Max", "Runs"]


def test_latex_is_grouped_like_the_papers_table():
    rows = latex_rows(to_latex(table(), LAYOUT))[2:]
    assert rows[0] == [r"\multicolumn{6}{c}{CIFAR-10}"] * 6
    assert rows[1] == ["VGG-16", "Single", "--", "0.100", "0.200", "1"]
    assert rows[2] == ["", r"\quad\textit{published}", "", "0.0498", "", ""]
    interval = r"0.333 {\scriptsize [0.250, 0.500]}"
    assert rows[3] == ["", r"Bezier\textsuperscript{1}", "1.23", interval, r"$\infty$", "2"]
    assert rows[4] == ["", r"\quad\textit{published}", "1.3", "0.07", "", ""]
    assert rows[5] == ["", r"\quad\textit{reference code}", "", "", "0.89", ""]
    assert rows[6][:2] == ["LeNet", "Single"]
    assert rows[7] == [r"\multicolumn{6}{c}{R\&D\_50\%}"] * 6
    assert rows[8][3] == "$-$0.500"
    assert rows[9][1] == r"\quad\textit{published: CIFAR-100, VGG-16}"


def test_latex_is_well_formed():
    text = to_latex(table(), LAYOUT)
    depth = 0
    for before, character in zip(" " + text, text, strict=False):
        if before != "\\":
            depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert [text.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
    assert r"\textsuperscript{1} 50\% off." in text
    assert text.isascii()


def test_latex_escapes_what_latex_would_read():
    frame = table().iloc[:1].assign(network="[a]_b~c^d\\e#$&%{}")
    row = latex_rows(to_latex(frame, LAYOUT))[3]
    assert row[0] == (r"{[}a]\_b\textasciitilde{}c\textasciicircum{}d\textbackslash{}e\#\$\&\%\{\}")


def test_two_labels_suffice_and_one_does_not():
    two = Layout("Errors", LAYOUT.labels[:2], LAYOUT.columns)
    rows = latex_rows(to_latex(table(), two))[2:]
    assert rows[1][0] == "VGG-16"
    assert rows[3][0] == "VGG-16"
    with pytest.raises(ValueError, match="at least two"):
        Layout("Errors", LAYOUT.labels[:1], LAYOUT.columns)


WIDE = Layout(
    title="Wide",
    labels=(Column("network", "Network"), Column("method", "Method")),
    columns=(Column("error", "Error", decimals=1),),
    published_setting=("published_dataset", "published_network"),
    notes=("note",),
    pivot=Pivot(group="dataset", label="budget", label_format="{}B"),
)


def long_table():
    rows = [
        ("CIFAR-10", "VGG-16", "Ind", 2, 5.0, 3, 6.0, "CIFAR-10", "VGG-16", "misprint"),
        ("CIFAR-10", "VGG-16", "Ind", 1, 7.04, 1, 6.0, "CIFAR-10", "VGG-16", "misprint"),
        ("CIFAR-10", "VGG-16", "FGE", 1, 6.96, 2, 6.5, "CIFAR-10", "VGG-16", ""),
        ("CIFAR-10", "LeNet", "FGE", 1, 9.0, 2, np.nan, None, None, ""),
        ("Digits", "VGG-16", "SWA", 1, 3.0, 2, 4.0, "CIFAR-100", "VGG-16", ""),
    ]
    names = ["dataset", "network", "method", "budget", "error", "runs", "error_published"]
    names += ["published_dataset", "published_network", "note"]
    return pd.DataFrame(rows, columns=names).assign(error_low=1.0, error_high=[9, 9, 9, 9, np.inf])


def test_a_pivot_makes_columns_of_rows():
    text = to_markdown(long_table(), WIDE)
    header, _, *rows = markdown_cells(text)
    assert header == [
        "Network",
        "Method",
        "CIFAR-10, 1B",
        "CIFAR-10, 2B",
        "Digits, 1B",
        "Published for",
    ]
    assert rows == [
        # Equal as printed: both are the smallest.
        [
            "VGG-16",
            "Ind [^1]",
            "**7.0** [1.0, 9.0], n = 1 (**6**)",
            "5.0 [1.0, 9.0], n = 3 (6)",
            "–",
            "",
        ],
        ["VGG-16", "FGE", "**7.0** [1.0, 9.0], n = 2 (6.5)", "–", "–", ""],
        ["VGG-16", "SWA", "–", "–", "3.0 [1.0, ∞], n = 2 (4)", "Digits: CIFAR-100, VGG-16"],
        ["LeNet", "FGE", "9.0 [1.0, 9.0], n = 2", "–", "–", ""],
    ]
    assert "Each cell: our value, [its interval], n = number of runs, (published)." in text
    assert text.endswith("[^1]: misprint\n")


def test_a_pivot_in_latex():
    rows = latex_rows(to_latex(long_table(), WIDE))
    assert rows[0][1:] == [r"\multicolumn{2}{c}{CIFAR-10}"] * 2 + [r"\multicolumn{1}{c}{Digits}"]
    assert rows[1] == ["Method", "1B", "2B", "1B"]
    assert rows[3][1] == r"\textbf{7.0} {\scriptsize [1.0, 9.0], n = 1}"
    assert rows[4] == [r"\quad\textit{published}", r"\textbf{6}", "6", ""]
    assert rows[8][0] == r"\quad\textit{published: Digits: CIFAR-100, VGG-16}"
    assert {len(row) for row in rows} == {4}


def test_a_pivot_of_nothing_and_of_two_values():
    empty = long_table().iloc[:0]
    assert markdown_cells(to_markdown(empty, WIDE))[0] == ["Network", "Method"]
    assert to_csv(empty).startswith("dataset,network,method,budget")
    with pytest.raises(ValueError, match="2 columns to pivot"):
        Layout("Wide", WIDE.labels, WIDE.columns * 2, pivot=WIDE.pivot)


def test_bounds_are_shown_as_such():
    layout = Layout("Bounds", LAYOUT.labels[:2], (Column("ratio", "Ratio", decimals=1),))
    frame = table().iloc[:3].assign(ratio=[1.0, 2.0, 3.0], ratio_bound=["upper", "lower", None])
    assert [row[2] for row in markdown_cells(to_markdown(frame, layout))[2:]] == [
        "≤ 1.0",
        "≥ 2.0 (1.3)",
        "3.0",
    ]
    assert r"$\leq$ 1.0" in to_latex(frame, layout)


def test_details_follow_in_markdown_only():
    details = Layout("Details", LAYOUT.labels, (Column("runs", "Runs"),))
    layout = Layout("Errors", LAYOUT.labels, LAYOUT.columns, details=details)
    text = to_markdown(table(), layout)
    first, second = text.split("\n## Details\n")
    assert first == to_markdown(table(), Layout("Errors", LAYOUT.labels, LAYOUT.columns))
    assert markdown_cells(second)[0] == ["Data set", "Network", "Curve", "Runs"]
    assert "Details" not in to_latex(table(), layout)


ENCLOSED = {"published": "({})", "reference code": "{{{}}}"}


def as_in_markdown(cell):
    """Put the parts of a cell together as Markdown writes them."""
    if cell.is_label:
        return cell.text.replace("|", "\\|") + "".join(f" [^{mark}]" for mark in cell.marks)
    parts = [f"**{cell.text}**" if cell.is_best else cell.text, cell.beside]
    for value in cell.published:
        text = f"**{value.text}**" if value.is_best else value.text
        parts.append(ENCLOSED[value.source].format(text))
    return " ".join(filter(None, parts))


@pytest.mark.parametrize("given", ["long", "wide"])
def test_the_parts_of_a_table_are_those_of_markdown(given):
    frame, layout = (table(), LAYOUT) if given == "long" else (long_table(), WIDE)
    view = view_table(frame, layout)
    header, _, *rows = markdown_cells(to_markdown(frame, layout))
    assert [[as_in_markdown(cell) for cell in row] for row in view.rows] == rows
    assert (view.title, view.legend) == (layout.title, layout.legend)
    assert list(view.notes) == (["50% off"] if given == "long" else ["misprint"])
    # The cells above the columns, spread over what they span, give Markdown's one line.
    upper, lower = view.headings
    below = iter(lower)
    spread = []
    for cell in upper:
        if cell.rows == 2:
            spread.append(cell.text)
        else:
            spread += [f"{cell.text}, {next(below).text}" for _ in range(cell.columns)]
    assert spread == header
    assert next(below, None) is None


def test_repeated_labels_and_numbers_are_marked():
    rows = view_table(table(), LAYOUT).rows
    assert [[cell.is_repeated for cell in row[:3]] for row in rows] == [
        [False, False, False],
        [True, True, False],
        [True, False, False],
        [False, False, False],
    ]
    assert [cell.is_number for cell in rows[0]] == [False] * 3 + [True] * 3 + [False] * 2
    details = Layout("Details", LAYOUT.labels, (Column("runs", "Runs"),))
    view = view_table(table(), Layout("Errors", LAYOUT.labels, LAYOUT.columns, details=details))
    assert view.details == view_table(table(), details)
    (only,) = view.details.headings
    assert [cell.text for cell in only] == ["Data set", "Network", "Curve", "Runs"]


def test_empty_table():
    assert view_table(table().iloc[:0], LAYOUT).rows == ()
    empty = table().iloc[:0]
    assert len(markdown_cells(to_markdown(empty, LAYOUT))) == 2
    assert len(latex_rows(to_latex(empty, LAYOUT))) == 2


def test_three_files_are_written_whole(tmp_path):
    stem = tmp_path / "tables" / "garipov2018_table2"
    write_table(table(), LAYOUT, stem)
    write_table(table(), LAYOUT, stem)
    assert sorted(path.name for path in stem.parent.iterdir()) == [
        "garipov2018_table2.csv",
        "garipov2018_table2.md",
        "garipov2018_table2.tex",
    ]
    assert stem.with_suffix(".csv").read_text(encoding="utf-8") == to_csv(table())
    assert stem.with_suffix(".md").read_text(encoding="utf-8") == to_markdown(table(), LAYOUT)
    assert stem.with_suffix(".tex").read_text(encoding="utf-8") == to_latex(table(), LAYOUT)
