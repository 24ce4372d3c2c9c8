"""From the results of a scale to one page: self-contained, with links to the files beside it."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from mode_connectivity.config import Config
from mode_connectivity.files import write_text
from mode_connectivity.reporting.artefacts import LAYOUTS
from mode_connectivity.reporting.captions import (
    YOURS,
    Caption,
    caption_of,
    captions_of,
    paper_name,
)
from mode_connectivity.reporting.claim_settings import PaperClaims, claim_files, load_claims
from mode_connectivity.reporting.claims import (
    DOES_NOT_HOLD,
    HOLDS,
    NOT_RUN,
    SCALE_NOTES,
    UNDECIDED,
    VERDICTS,
    holds_if,
    ours_text,
    summary,
)
from mode_connectivity.reporting.page.content import (
    ArtefactContent,
    ClaimContent,
    Cost,
    FileLink,
    PaperContent,
    Records,
    claim_content,
    read_picture,
    read_table,
    settings_text,
)
from mode_connectivity.reporting.page.shown import ShownArtefact, shown_artefacts
from mode_connectivity.reporting.published import lint_published
from mode_connectivity.reporting.settings import artefact_base

SYMBOLS = {HOLDS: "✓", DOES_NOT_HOLD: "✗", UNDECIDED: "?", NOT_RUN: "–"}
WORKFLOW_REPORT = "workflow.html"
"""Snakemake's own report, beside the page."""
TABLE_FILES = ("csv", "md", "tex")
FIGURE_FILES = ("csv", "png", "pdf")


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    scale: str
    scale_note: str
    summary: str
    counts: Mapping[str, int]
    claim_files: Sequence[FileLink]
    papers: Sequence[PaperContent]
    misprints: pd.DataFrame
    cost: Cost
    warnings: Sequence[str]
    workflow: str
    workflow_command: str


def make_report(config: Config, results: Path, *, threads: int = 1) -> None:
    """Write ``report.html`` into the results of a scale.

    Nothing needs to be complete: what is missing or damaged is named on the page, with the command
    that makes it.

    Args:
        config: says which artefacts belong on the page, and what they are made of.
        results: the results of the scale, with ``claims.csv`` and ``claims_details.csv``.
        threads: how many compress pictures.

    Raises:
        UserError: the files of statements have mistakes.
    """
    scale, papers = config.scale, load_claims(claim_files(config.claims))
    claims = pd.read_csv(results / "claims.csv", keep_default_na=False, na_values=[""])
    details = pd.read_csv(results / "claims_details.csv")
    records = Records.read(results)
    captions = captions_of(config)
    with ThreadPoolExecutor(threads) as pool:
        read = partial(_artefact, results, scale, captions, records)
        artefacts = list(pool.map(read, shown_artefacts(config)))
    counts = claims["verdict"].value_counts()
    page = Page(
        scale=scale,
        scale_note=SCALE_NOTES.get(scale, ""),
        summary=summary(claims),
        counts={verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS},
        claim_files=_links(results, (f"claims{end}" for end in (".csv", "_details.csv", ".md"))),
        papers=[
            *(_paper(paper, claims, details, artefacts) for paper in papers),
            *_yours([each for each in artefacts if each.name in config.figures]),
        ],
        misprints=lint_published().fillna(""),
        cost=records.cost(records.by_path),
        warnings=[
            f"{path} is no record that can be read; its job is left out."
            for path in records.unreadable
        ],
        workflow=WORKFLOW_REPORT if (results / WORKFLOW_REPORT).is_file() else "",
        workflow_command=f"snakemake --report {results / WORKFLOW_REPORT}{_at_scale(scale)}",
    )
    write_text(results / "report.html", render(page))


def render(page: Page) -> str:
    """Render the page as HTML."""
    sources = files(__package__)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True
    )
    template = environment.from_string((sources / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        page=page,
        symbols=SYMBOLS,
        style=(sources / "page.css").read_text(encoding="utf-8"),
        script=(sources / "page.js").read_text(encoding="utf-8"),
    )


def _paper(
    paper: PaperClaims,
    claims: pd.DataFrame,
    details: pd.DataFrame,
    artefacts: Sequence[ArtefactContent],
) -> PaperContent:
    return PaperContent(
        name=paper.paper,
        called=paper_name(paper.paper),
        title=paper.title,
        citation=paper.citation,
        claims=tuple(_claims(paper, claims, details, {each.name for each in artefacts})),
        artefacts=tuple(each for each in artefacts if each.name.startswith(f"{paper.paper}_")),
    )


def _yours(artefacts: Sequence[ArtefactContent]) -> Iterable[PaperContent]:
    if artefacts:
        yield PaperContent("yours", YOURS, YOURS, "", claims=(), artefacts=tuple(artefacts))


def _claims(
    paper: PaperClaims, claims: pd.DataFrame, details: pd.DataFrame, artefacts: Iterable[str]
) -> Iterable[ClaimContent]:
    for _, row in claims[claims["paper"] == paper.paper].iterrows():
        settings = paper.claims.get(row["claim"])
        if settings is None:
            continue
        filled = row.fillna("")
        section = str(row["section"])
        shown = {**filled, "section_text": f"sec. {section}" if section[0].isdigit() else section}
        yield claim_content(
            shown,
            details[details["claim"] == row["claim"]],
            ours=ours_text(row.where(row.notna() | row.index.isin(["low", "high"]), "")),
            holds_if=holds_if(filled),
            bounds=(settings.low, settings.high),
            artefacts=artefacts,
        )


def _artefact(
    results: Path,
    scale: str,
    captions: Mapping[str, Caption],
    records: Records,
    shown: ShownArtefact,
) -> ArtefactContent:
    caption = caption_of(shown.name, captions)
    missing, remarks = [], []
    table = picture = None
    if "tables" in shown.kinds:
        stem = results / "tables" / shown.name
        try:
            table = read_table(stem, LAYOUTS[artefact_base(shown.name)])
        except FileNotFoundError:
            missing.append("the table")
        except (OSError, ValueError, KeyError) as error:
            remarks.append(_unreadable(f"tables/{shown.name}.csv", error))
    if "figures" in shown.kinds:
        stem = results / "figures" / shown.name
        try:
            picture = read_picture(stem, caption)
        except FileNotFoundError:
            missing.append("the figure")
        except OSError as error:
            remarks.append(_unreadable(f"figures/{shown.name}.png", error))
    paths = [
        f"{kind}/{shown.name}.{suffix}"
        for kind, suffixes in (("tables", TABLE_FILES), ("figures", FIGURE_FILES))
        if kind in shown.kinds
        for suffix in suffixes
    ]
    return ArtefactContent(
        name=shown.name,
        caption=caption,
        table=table,
        picture=picture,
        files=_links(results, paths),
        settings=settings_text(shown.settings),
        cost=records.cost(shown.records),
        missing=tuple(missing),
        command=f"snakemake --cores all {shown.name}{_at_scale(scale)}",
        remarks=tuple(remarks),
    )


def _unreadable(path: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{path} cannot be shown ({type(error).__name__}: {text}); delete it and make it again."


def _at_scale(scale: str) -> str:
    return "" if scale == "demo" else f" --config scale={scale}"


def _links(results: Path, paths: Iterable[str]) -> tuple[FileLink, ...]:
    """Return links to those files that there are."""
    return tuple(FileLink(Path(path).name, path) for path in paths if (results / path).is_file())
