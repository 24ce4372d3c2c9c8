"""The report of a run that is not finished."""

from pathlib import Path

import pandas as pd
import pytest
from report_results import ROOT, SELECTED, make_results

from mode_connectivity.__main__ import main


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two of four artefacts, and neither statements nor a page."""
    monkeypatch.chdir(ROOT)
    folder = tmp_path / "results" / "demo"
    make_results(folder)
    for path in folder.glob("claims*"):
        path.unlink()
    return folder


def report(results: Path, *options: str) -> int:
    selected = f"select=[{','.join(SELECTED)}]"
    return main(["report", *options, "--config", f"results={results.parent}", selected])


def test_what_there_is_is_judged_and_shown(results, capsys) -> None:
    assert report(results) == 0
    assert capsys.readouterr().out == f"{results}/report.html: 2 of 4 tables and figures\n"
    claims = pd.read_csv(results / "claims.csv").set_index("claim")
    assert claims.loc["segments_rise", "verdict"] == "holds"
    assert claims.loc["wider_networks_shorter_curves", "verdict"] == "not run"
    page = (results / "report.html").read_text()
    assert "On the line segment between two networks the test error rises" in page
    assert "snakemake --cores all garipov2018_figure3" in page


def test_only_what_is_named_is_judged_and_shown(results, capsys) -> None:
    assert report(results, "garipov2018_table2") == 0
    assert capsys.readouterr().out == f"{results}/report.html: 1 of 1 tables and figures\n"
    assert "garipov2018_figure1" not in (results / "report.html").read_text()
    assert report(results, "garipov2018_tabel2") == 1
    assert "'garipov2018_tabel2'" in (message := capsys.readouterr().err)
    assert "'garipov2018_table2'" in message


def test_one_row_is_enough(results) -> None:
    table, row = (
        results / "tables" / f"garipov2018_table2{name}.csv" for name in ("", "_digits_vgg16")
    )
    table.rename(row)
    assert report(results, "garipov2018_table2_digits_vgg16") == 0
    claims = pd.read_csv(results / "claims.csv").set_index("claim")
    assert claims.loc["segments_rise", "verdict"] == "holds"


def test_a_damaged_table_is_told_and_stops_nothing(results, capsys) -> None:
    (results / "tables" / "garipov2018_table2.csv").write_bytes(b"\xff\x00 no table")
    assert report(results) == 0
    claims = pd.read_csv(results / "claims.csv").set_index("claim")
    assert claims.loc["segments_rise", "verdict"] == "not run"
    assert "garipov2018_table2.csv cannot be read" in claims.loc["segments_rise", "reason"]
    assert "Traceback" not in capsys.readouterr().err


def test_nothing_made_yet(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    assert report(tmp_path / "results" / "demo") == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {tmp_path}/results/demo: none of its 4 tables and figures")
    assert not (tmp_path / "results").exists()


def test_mistaken_statements_are_told_before_anything_is_written(results, capsys, tmp_path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("paper: mine\ntitle: Mine\ncitation: me\nclaims: {a: {section: '1'}}\n")
    selected = f"select=[{','.join(SELECTED)}]"
    options = [f"results={results.parent}", selected, f"claims=[{own}]"]
    assert main(["report", "--config", *options]) == 1
    assert "claims.a.statement: is missing" in capsys.readouterr().err
    assert not (results / "claims.csv").exists()
