"""The page of all results, from results that are half there.

What a browser makes of it is tested in tests/browser.
"""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from report_results import ROOT, SELECTED, make_results

from mode_connectivity.config import load_config
from mode_connectivity.reporting.captions import load_captions
from mode_connectivity.reporting.page.build import make_report
from mode_connectivity.reporting.page.content import Records, describe, duration, settings_text
from mode_connectivity.reporting.page.shown import page_sources, shown_artefacts


class Document(HTMLParser):
    """Everything that tests ask of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.images, self.open = [], [], [], [], []
        self.texts = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found["href"])
        if tag == "img":
            self.images.append(found)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def page(results):
    make_report(make_results(results), results)
    return (results / "report.html").read_text()


def test_every_link_leads_somewhere(page, results):
    document = Document(page)
    assert len(set(document.ids)) == len(document.ids)
    inside = [link[1:] for link in document.links if link.startswith("#")]
    assert set(inside) <= set(document.ids)
    outside = [link for link in document.links if not link.startswith("#")]
    assert "tables/garipov2018_table2.csv" in outside
    assert "claims_details.csv" in outside
    assert all((results / link).is_file() for link in outside)


def test_nothing_is_loaded_from_elsewhere(page):
    sources = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    assert all(source.startswith(("data:image/webp;base64,", "tables/", "figures/", "claims"))
               for source in sources)  # fmt: skip
    assert "@import" not in page
    assert "url(" not in page


def test_ours_stands_beside_the_published_value(page, results):
    table = pd.read_csv(results / "tables" / "garipov2018_table2.csv").set_index("curve")
    own = f"{table.loc['Segment', 'test_error_max']:.2f}"
    cell = re.search(rf'<span class="own">{own}</span>.*?</td>', page)[0]
    low, high = (f"{table.loc['Segment', f'test_error_max_{end}']:.2f}" for end in ("low", "high"))
    assert f"[{low}, {high}]" in cell
    assert re.search(r'title="published">paper</abbr> 90<', cell)


def test_verdicts_are_those_of_the_claims(page, results):
    claims = pd.read_csv(results / "claims.csv")
    verdicts = re.findall(r'<details class="claim" id="claim-(\w+)" data-verdict="([\w-]+)">', page)
    assert dict(verdicts) == {
        row["claim"]: row["verdict"].replace(" ", "-") for _, row in claims.iterrows()
    }
    assert dict(verdicts)["segment_vgg16_cifar10"] == "does-not-hold"
    assert dict(verdicts)["curves_below_segment"] == "holds"
    # What stands in for the network of a statement is said before anything is opened.
    row = page[page.index('id="claim-segment_vgg16_cifar10"') :]
    assert "Digits, VGG-16 for CIFAR-10, VGG-16" in row[: row.index("</summary>")]
    # A statement links to what it is judged from where that is on the page.
    assert '<a href="#garipov2018_table2">tables/garipov2018_table2</a>' in page


def test_what_is_missing_is_named_with_the_command_that_makes_it(page):
    article = page[page.index('<article id="garipov2018_figure3"') :]
    article = article[: article.index("</article>")]
    assert "the figure. <code>snakemake --cores all garipov2018_figure3</code> makes it." in article
    assert "<img" not in article
    assert "curves/digits_vgg16_bezier/grid.json is no record that can be read" in page


def test_cost_and_code_are_those_of_the_jobs_behind(page):
    article = page[page.index('<article id="garipov2018_table2"') :]
    article = article[: article.index("</article>")]
    assert "2 jobs behind it worked for 2 min 5 s in all" in article
    assert "0123456789" in article
    assert "mode-connectivity 0.1.0, PyTorch 2.13.0, Python 3.11.7" in article
    # Its settings and those of what it is made of.
    assert "digits_vgg16_bezier:" in article
    assert "curves:" in article
    # Of no job of this figure there is a record.
    modes = page[page.index('<article id="gotmare2018_modes"') :]
    assert "worked for" not in modes[: modes.index("</article>")]


def test_pictures_have_words_and_points(page):
    (image,) = Document(page).images
    assert image["alt"].startswith("Figure 1: train loss on three planes. Train loss on the plane")
    assert (
        "Panel 2 (Bezier curve) has Distance orthogonal to it against Distance from" in image["alt"]
    )
    points = re.search(r'<script type="application/json" id="points-[^"]+">(.*?)</script>', page)[1]
    panels = json.loads(points)
    assert [len(panel["series"][0]["points"]) for panel in panels] == 3 * [9 * 8]


def test_misprints_are_told(page):
    section = page[page.index('<section id="misprints"') :]
    for value in ("0.494", "5.57", "24.41", "10.38"):
        assert f"<td>{value}</td>" in section


def test_results_of_another_version_and_damaged_ones_stop_nothing(tmp_path):
    config = make_results(tmp_path)
    table = tmp_path / "tables" / "garipov2018_table2.csv"
    pd.read_csv(table).drop(columns="test_error_max").to_csv(table, index=False)
    (tmp_path / "figures" / "garipov2018_figure1.png").write_bytes(b"no picture")
    make_report(config, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "tables/garipov2018_table2.csv cannot be shown (KeyError: " in page
    assert "figures/garipov2018_figure1.png cannot be shown (UnidentifiedImageError: " in page
    assert page.count("delete it and make it again") == 2


def test_a_folder_without_any_artefact_has_a_page(tmp_path):
    config = make_results(tmp_path / "other")
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("claims.csv", "claims_details.csv"):
        (empty / name).write_bytes((tmp_path / "other" / name).read_bytes())
    make_report(config, empty)
    page = (empty / "report.html").read_text()
    assert page.count("<b>Not made:</b>") == len(SELECTED)
    assert "No job has left a record here." in page


def test_snakemakes_report_is_linked_where_it_is(tmp_path):
    config = make_results(tmp_path)
    make_report(config, tmp_path)
    command = f"snakemake --report {tmp_path / 'workflow.html'}"
    assert f"<code>{command}</code>" in (tmp_path / "report.html").read_text()
    (tmp_path / "workflow.html").write_text("x")
    make_report(config, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert '<a href="workflow.html">' in page
    assert command not in page


def test_same_results_same_page(tmp_path):
    config = make_results(tmp_path)
    make_report(config, tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    make_report(config, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first


def test_text_of_others_is_text(tmp_path):
    config = make_results(tmp_path)
    claims = pd.read_csv(tmp_path / "claims.csv")
    claims.loc[0, "statement"] = "<script>alert(1)</script>"
    claims.to_csv(tmp_path / "claims.csv", index=False)
    make_report(config, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_an_artefact_is_made_of(tmp_path):
    config = make_results(tmp_path)
    shown = {each.name: each for each in shown_artefacts(config)}
    assert tuple(shown) == SELECTED
    figure = shown["garipov2018_figure1"]
    assert figure.kinds == ("figures",)
    assert set(figure.settings) == {"artefacts", "curves", "datasets", "planes", "recipes"}
    assert "planes/digits_preresnet20_bezier/run.json" in figure.records
    assert shown["gotmare2018_modes"].kinds == ("tables",)
    assert all(path.is_file() for path in page_sources())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 0 s"),
        (125.0, "2 min 5 s"),
        (7 * 3600 + 601, "7 h 10 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_costs_add_up(tmp_path):
    records = Records(
        {
            "a/run.json": {"work_seconds": 1.5, "commit": "x" * 40, "device": "NVIDIA H200"},
            "b/run.json": {"work_seconds": 2.0, "commit": None, "device": "cpu"},
        }
    )
    cost = records.cost(["a/run.json", "b/run.json", "c/run.json"])
    assert (cost.jobs, cost.recorded, cost.seconds) == (3, 2, 3.5)
    assert cost.commits == {"xxxxxxxxxx": 1, "unknown": 1}
    assert cost.devices == {"NVIDIA H200": 1, "cpu": 1}


def test_a_picture_in_words():
    caption = load_captions()["garipov2018_figure4"]
    series = [{"label": "Segment", "points": []}, {"label": "", "points": []}]
    panel = {"title": "", "x": "t", "y": "Test error (%)", "series": series}
    assert describe(caption, [panel]).endswith("The panel has Test error (%) against t: Segment.")
    assert describe(caption, []) == f"{caption.title}. {caption.caption}"


def test_settings_without_what_is_empty():
    settings = {"b": {"c": None, "d": [], "e": [1, {"f": None, "g": 2}]}, "a": 0}
    assert settings_text(settings) == "b:\n  e:\n  - 1\n  - g: 2\na: 0\n"


def test_figures_of_the_users_own_have_a_section(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawings.py").write_text("def draw(results): ...\n")
    make_results(tmp_path)
    figure = {"draw": "drawings.py:draw", "title": "How flat", "caption": "Less is flatter.",
              "curves": ["digits_vgg16_bezier"]}  # fmt: skip
    user = {"select": [*SELECTED, "flatness"], "figures": {"flatness": figure}}
    config = load_config(user, ROOT)
    for suffix in (".png", ".pdf", ".csv", ".json"):
        drawn = tmp_path / "figures" / f"garipov2018_figure1{suffix}"
        drawn.with_stem("flatness").write_bytes(drawn.read_bytes())
    make_report(config, tmp_path)
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('<section id="yours"') : page.index('<section id="misprints"')]
    assert '<article id="flatness"' in section
    assert "<p>Less is flatter.</p>" in section
    assert 'alt="How flat. Less is flatter.' in section
    assert '<a href="figures/flatness.csv">flatness.csv</a>' in section
    # Its settings, and those of what it is made of.
    assert "draw: drawings.py:draw" in section
    assert "digits_vgg16_bezier:" in section
    assert '<li><a href="#yours">Yours</a>' in page
    scorecard = page[
        page.index('<section id="scorecard"') : page.index('<section id="garipov2018"')
    ]
    assert "<h3>Yours</h3>" not in scorecard
    document = Document(page)
    assert len(set(document.ids)) == len(document.ids)


def test_no_section_where_there_are_no_such_figures(page):
    assert "yours" not in Document(page).ids
