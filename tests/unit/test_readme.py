"""The numbers of the README are those that were measured."""

import re

import pandas as pd
from pipeline import CHECKOUT

from mode_connectivity.reporting.claim_settings import claim_files, load_claims
from mode_connectivity.reporting.claims import VERDICTS

README = (CHECKOUT / "README.md").read_text()
MEASURED = CHECKOUT / "docs" / "measured"


def rows_below(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its rule."""
    text = README[README.index(heading) :]
    table = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert table is not None
    lines = [line.strip("|\n").split("|") for line in table[0].splitlines()]
    rows = [[cell.strip() for cell in line] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("-:")]


def test_the_number_of_statements() -> None:
    written = sum(len(paper.claims) for paper in load_claims(claim_files()))
    assert f"[{written} statements]" in README


def test_the_scorecard_is_that_of_the_measured_demo() -> None:
    claims = pd.read_csv(MEASURED / "demo" / "claims.csv")
    header, *rows = rows_below("## Do the papers' statements hold?")
    assert header[1:] == list(VERDICTS)
    counts = pd.crosstab(claims["paper"], claims["verdict"])
    expected = [
        [f"`{paper}`", *(str(counts.get(verdict, {}).get(paper, 0)) for verdict in VERDICTS)]
        for paper in ("garipov2018", "gotmare2018", "benton2021")
    ]
    assert rows == expected


def test_the_table_is_that_of_the_measured_row() -> None:
    path = MEASURED / "mnist_fully_connected" / "garipov2018_table2_mnist_fully_connected.csv"
    table = pd.read_csv(path).set_index("curve")
    _, *rows = rows_below("## At the papers' scale")
    assert [row[0] for row in rows] == table.index.tolist()
    for row in rows:
        for value, cell in zip(("min", "int", "max"), row[1:], strict=True):
            found, published = (
                table.loc[row[0], f"test_error_{value}{suffix}"] for suffix in ("", "_published")
            )
            low, high = (table.loc[row[0], f"test_error_{value}_{end}"] for end in ("low", "high"))
            text = "–" if pd.isna(found) else f"{found:.2f} [{low:.2f}, {high:.2f}]"
            assert cell == text + ("" if pd.isna(published) else f" ({published:g})")
