"""The page of all results of a real run, finished and half-finished."""

import pandas as pd
import pytest
from pipeline import Project

from mode_connectivity.__main__ import main
from mode_connectivity.reporting.claims import VERDICTS


def test_a_run_ends_with_a_page_of_all_results(finished: Project) -> None:
    claims = pd.read_csv(finished.results / "claims.csv")
    assert len(claims) >= 40
    assert set(claims["verdict"]) <= set(VERDICTS)
    assert (claims["verdict"] != "not run").sum() > 10
    page = (finished.results / "report.html").read_text()
    for name in ("garipov2018_table2_shapes", "garipov2018_figure1", "benton2021_figure11"):
        assert f'<article id="{name}"' in page
    assert "data:image/webp;base64," in page


def test_both_reports_of_a_half_finished_run(
    finished: Project, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    whole = pd.read_csv(project.results / "claims.csv").set_index("claim")
    (project.results / "tables" / "garipov2018_table2_shapes.csv").unlink()
    (project.results / "figures" / "garipov2018_figure1.png").unlink()
    assert main(["report", "--workflow"]) == 0
    assert "tables and figures" in capsys.readouterr().out
    half = pd.read_csv(project.results / "claims.csv").set_index("claim")
    of_table = half["judged_from"] == "tables/garipov2018_table2"
    assert set(half.loc[of_table, "verdict"]) == {"not run"}
    assert set(whole.loc[of_table, "verdict"]) != {"not run"}
    assert half.loc[~of_table, "verdict"].equals(whole.loc[~of_table, "verdict"])
    page = (project.results / "report.html").read_text()
    assert 'href="workflow.html"' in page
    assert "snakemake --cores all garipov2018_table2_shapes" in page
    workflow = (project.results / "workflow.html").read_text()
    assert "garipov2018_figure2" in workflow


def test_a_report_by_hand_is_what_the_run_makes(
    finished: Project, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    names = ("claims.csv", "claims_details.csv", "claims.md", "report.html")
    before = {name: (project.results / name).read_bytes() for name in names}
    assert main(["report"]) == 0
    assert {name: (project.results / name).read_bytes() for name in names} == before
    assert "Nothing to be done" in project.make(options=["--dry-run"])
