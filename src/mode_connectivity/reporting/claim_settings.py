"""Statements of the papers as data: what is said, where, and by which numbers it is judged."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mode_connectivity.mistakes import explain
from mode_connectivity.settings import Settings, UserError
from mode_connectivity.yaml_files import read_yaml

CLAIMS_DIRECTORY = Path(__file__).parents[3] / "resources" / "claims"

Statistic = Literal[
    "only",
    "first",
    "last",
    "min",
    "max",
    "mean",
    "place_of_max",
    "height_above_ends",
    "height_above_line",
    "depth_below_ends",
    "steps",
    "rank_correlation",
    "uniformity",
]


class MeasuredSettings(Settings):
    """Numbers of an artefact: some of its rows, a value in each, and what is taken of them."""

    rows: str = Field("", description="which rows, as pandas.DataFrame.query takes it; empty: all")
    value: str = Field(
        description="a column, or an expression of columns as pandas.DataFrame.eval takes it; only "
        "a column has an interval"
    )
    statistic: Statistic = Field(
        "only",
        description="of the values of a group of rows, ordered by `along`; only: there is one row, "
        "and its interval counts",
    )


class ClaimSettings(MeasuredSettings):
    """One checkable statement of a paper, and the rule that judges it."""

    section: str = Field(min_length=1, description="where the paper says it")
    statement: str = Field(min_length=1, description="what the paper says, in our words")
    judged_from: str = Field(
        pattern=r"(tables|figures)/[a-z0-9_]+",
        description="an artefact's numbers, as tables/name or figures/name",
    )
    published: str = Field("", description="the paper's own figure, as printed; empty: none")
    by: list[str] = Field(
        [], description="columns that tell the groups of rows apart; each group is judged"
    )
    along: str = Field("t", description="column that orders the rows of a group")
    minus: MeasuredSettings | None = Field(
        None, description="what is subtracted, group by group; keys left out are the claim's"
    )
    divided_by: MeasuredSettings | None = Field(None, description="what it is divided by, likewise")
    reference: MeasuredSettings | None = Field(
        None,
        description="one row whose value is subtracted from every quantity as a constant: where "
        "the intervals are those of the difference to it",
    )
    unit: str = Field("", description="of the quantity")
    at_least: float | None = Field(None, description="the statement holds from here on")
    at_most: float | None = Field(None, description="up to here")
    above: float | None = Field(None, description="beyond here, this value excluded")
    below: float | None = Field(None, description="likewise")
    because: str = Field("", description="why these bounds, where the paper does not give them")

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        closed, open_ = (self.at_least, self.at_most), (self.above, self.below)
        if all(bound is None for bound in (*closed, *open_)):
            raise ValueError("has no bounds; give at_least, at_most, above or below")
        if any(bound is not None for bound in closed) and any(bound is not None for bound in open_):
            raise ValueError(
                "mixes bounds that are included (at_least, at_most) with bounds that are not "
                "(above, below); use one kind"
            )
        if not self.low < self.high:
            raise ValueError(f"allows nothing: from {self.low:g} to {self.high:g}")
        return self

    @property
    def low(self) -> float:
        """The lower end of the allowed range."""
        return _first(self.at_least, self.above, -math.inf)

    @property
    def high(self) -> float:
        """The upper end."""
        return _first(self.at_most, self.below, math.inf)

    @property
    def strict(self) -> bool:
        """Whether the ends are excluded."""
        return self.above is not None or self.below is not None


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


class PaperClaims(Settings):
    """The statements of one paper, in the order in which it makes them."""

    paper: str = Field(min_length=1, description="as its artefacts begin, such as garipov2018")
    title: str = Field(min_length=1, description="of the paper")
    citation: str = Field(min_length=1, description="its authors, and where it was published")
    claims: dict[str, ClaimSettings] = Field(min_length=1)


PAPERS = ("garipov2018", "gotmare2018", "benton2021")
"""Those whose statements are shipped, from the oldest on."""


def claim_files(own: Iterable[str | Path] = ()) -> list[Path]:
    """Return the files of statements: those of the three papers, then a user's own."""
    return [*(CLAIMS_DIRECTORY / f"{paper}.yaml" for paper in PAPERS), *map(Path, own)]


def load_claims(paths: Iterable[Path]) -> list[PaperClaims]:
    """Read statements.

    Args:
        paths: YAML files, one a paper.

    Raises:
        UserError: with all mistakes of all files, a line each.
    """
    mistakes: list[str] = []
    papers = []
    for path in paths:
        try:
            content = read_yaml(path)
        except FileNotFoundError:
            mistakes.append(f"{path}: no such file")
            continue
        except UserError as error:
            mistakes.append(f"{path}: {error}")
            continue
        complete = _with_inherited(content)
        try:
            papers.append(PaperClaims.model_validate(complete))
        except ValidationError as error:
            mistakes += [
                f"{path}: {'.'.join(map(str, keys))}: {text}"
                for keys, text in explain(error, PaperClaims, complete)
            ]
    mistakes += _twice(papers)
    if mistakes:
        raise UserError("the claims have mistakes:\n" + "\n".join(f"  {line}" for line in mistakes))
    return papers


def _with_inherited(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill what a claim compares with by the keys of the claim itself that it leaves out."""
    claims = content.get("claims")
    if not isinstance(claims, Mapping):
        return content
    shared = MeasuredSettings.model_fields
    filled: dict[Any, Any] = {}
    for name, claim in claims.items():
        filled[name] = claim
        if isinstance(claim, Mapping):
            own = {key: claim[key] for key in shared if key in claim}
            parts = {
                key: own | claim[key]
                for key in ("minus", "divided_by", "reference")
                if isinstance(claim.get(key), Mapping)
            }
            filled[name] = {**claim, **parts}
    return {**content, "claims": filled}


def _twice(papers: list[PaperClaims]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for paper in papers:
        for name in paper.claims:
            if name in seen:
                yield (
                    f"claim {name!r} is in {seen[name]} and in {paper.paper}; names are used once"
                )
            seen[name] = paper.paper
