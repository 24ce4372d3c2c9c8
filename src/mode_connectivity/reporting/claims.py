"""Judging the papers' statements by the numbers of artefacts.

A statement names rows of a table's or figure's CSV, a value, and the range in which it must lie for
the statement to hold. Each group of rows gives one quantity, with the interval that the artefact
has for it; `inference` tells which quantities lie inside. The statement *holds* if all do, *does
not hold* if one lies outside, and is *undecided* otherwise. What cannot be judged is *not run*,
with the reason.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mode_connectivity.files import write_frame, write_text
from mode_connectivity.reporting.barriers import height_above_line
from mode_connectivity.reporting.claim_settings import (
    ClaimSettings,
    MeasuredSettings,
    PaperClaims,
    Statistic,
)
from mode_connectivity.reporting.inference import (
    Finding,
    Quantity,
    Range,
    find,
    rank_correlation,
)
from mode_connectivity.reporting.published import lint_published
from mode_connectivity.reporting.settings import artefact_base
from mode_connectivity.reporting.summaries import LEVEL, Floats, height_above_ends
from mode_connectivity.settings import nearest

HOLDS, DOES_NOT_HOLD, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
VERDICTS = (HOLDS, DOES_NOT_HOLD, UNDECIDED, NOT_RUN)

COLUMNS = (
    "claim",
    "paper",
    "section",
    "statement",
    "judged_from",
    "published",
    "unit",
    "allowed",
    "estimate",
    "low",
    "high",
    "label",
    "quantities",
    "inside",
    "outside",
    "undecided",
    "uncertainty",
    "verdict",
    "reason",
    "stands_in",
    "because",
)
EVERYTHING = Range()

SCALE_NOTES = {
    "demo": "At this scale small networks on handwritten digits stand in for the papers': it shows "
    "that everything works and what such networks do. What it says of a statement is said of them; "
    "the papers' own networks are those of the paper scale.",
}
"""What readers of a scale's verdicts must know."""

DETAIL_COLUMNS = ("claim", "label", "estimate", "low", "high", "uncertainty", "finding")


class NotRunError(Exception):
    """A statement cannot be judged; the text says why, for people."""


@dataclass(frozen=True)
class Judged:
    """One quantity of a statement.

    Attributes:
        label: which rows it is of; empty if it is of all.
        quantity: the value.
        uncertainty: what its interval is over: runs, examples, or nothing.
        finding: whether it lies where the statement says.
    """

    label: str
    quantity: Quantity
    uncertainty: str
    finding: Finding


@dataclass(frozen=True)
class Measured:
    """A quantity before it is judged, with what its interval is over."""

    quantity: Quantity
    uncertainty: str


@dataclass(frozen=True)
class Judgement:
    """What the numbers say of a statement.

    Attributes:
        verdict: one of ``VERDICTS``.
        quantities: what was judged.
        allowed: where the quantities lie if the statement holds.
        reason: why it is undecided or not run.
        stands_in: which of our data sets and networks stand in for the paper's, if some do.
    """

    verdict: str
    quantities: tuple[Judged, ...] = ()
    allowed: Range = EVERYTHING
    reason: str = ""
    stands_in: str = ""

    @property
    def telling(self) -> Judged | None:
        """The quantity that says most against the statement, if there is any."""
        order = ("outside", "undecided", "inside")
        return min(
            self.quantities,
            key=lambda judged: (order.index(judged.finding), self.allowed.room(judged.quantity)),
            default=None,
        )


class Artefacts:
    """The numbers of tables and figures, read when a statement asks for them.

    Args:
        files: paths of CSV files, by ``tables/name`` or ``figures/name``. A table of which only
            rows were made, each as an artefact of its own, is put together from them.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._frames: dict[str, pd.DataFrame] = {}

    @classmethod
    def below(cls, results: Path) -> "Artefacts":
        """Return all that there are in the results of a scale."""
        paths = [*results.glob("tables/*.csv"), *results.glob("figures/*.csv")]
        return cls({f"{path.parent.name}/{path.stem}": path for path in paths})

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._frames:
            self._frames[name] = self._read(name)
        return self._frames[name]

    def _read(self, name: str) -> pd.DataFrame:
        if name in self._files:
            return self._open(self._files[name])
        kind, _, artefact = name.partition("/")
        rows = [
            path
            for key, path in sorted(self._files.items())
            if key.startswith(f"{kind}/{artefact}_") and artefact_base(path.stem) == artefact
        ]
        if not rows:
            raise NotRunError(f"{artefact} is not made at this scale, or not yet")
        return pd.concat(map(self._open, rows), ignore_index=True)

    @staticmethod
    def _open(path: Path) -> pd.DataFrame:
        try:
            return pd.read_csv(path)
        except FileNotFoundError:
            raise NotRunError(f"{path} is missing; make it again") from None
        except (OSError, ValueError) as error:
            text = " ".join(str(error).split())
            raise NotRunError(
                f"{path} cannot be read ({text}); delete it and make it again"
            ) from None


def judge(claim: ClaimSettings, artefacts: Artefacts) -> Judgement:
    """Judge one statement.

    Args:
        claim: the statement and its rule.
        artefacts: what there is to judge it by.
    """
    try:
        frame = artefacts[claim.judged_from]
        found = _measured(claim, claim, frame)
        for part, combine in ((claim.minus, _minus), (claim.divided_by, _divided_by)):
            if part is not None:
                others = _measured(part, claim, frame)
                missing = [label or "all rows" for label in found if label not in others]
                if missing:
                    raise NotRunError(f"nothing to compare with for {'; '.join(missing)}")
                found = {label: combine(own, others[label]) for label, own in found.items()}
        if claim.reference is not None:
            constant = _reference(claim.reference, frame)
            found = {label: _shifted(own, constant) for label, own in found.items()}
    except NotRunError as error:
        return Judgement(NOT_RUN, reason=str(error))
    quantities = [measured.quantity for measured in found.values()]
    allowed = Range(claim.low, claim.high, claim.strict)
    findings = find(quantities, allowed)
    judged = tuple(
        Judged(label, measured.quantity, measured.uncertainty, finding)
        for (label, measured), finding in zip(found.items(), findings, strict=True)
    )
    open_ = findings.count("undecided")
    verdict, reason = HOLDS, ""
    if "outside" in findings:
        verdict = DOES_NOT_HOLD
    elif open_:
        verdict = UNDECIDED
        which = "the interval contains" if len(judged) == 1 else f"{open_} intervals contain"
        reason = f"{which} both what the statement allows and what it does not"
    return Judgement(verdict, judged, allowed, reason, _stands_in(claim, frame))


def judge_all(
    papers: Sequence[PaperClaims], artefacts: Artefacts
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge the statements of several papers.

    Args:
        papers: their statements.
        artefacts: what there is to judge them by.

    Returns:
        A row a statement with ``COLUMNS``: ``estimate``, ``low`` and ``high`` (``LEVEL``) of the
        quantity that says most against it, named by ``label``; how many ``quantities`` there are,
        how many of them lie ``inside`` the ``allowed`` range, ``outside``, or are ``undecided``;
        what intervals are over (``uncertainty``: runs, examples, none); ``verdict``; ``reason``;
        ``stands_in``: ours for the paper's data sets and networks; ``because``: why this range. And
        a row a quantity with ``DETAIL_COLUMNS``.
    """
    rows, details = [], []
    for paper in papers:
        for name, claim in paper.claims.items():
            judgement = judge(claim, artefacts)
            rows.append({"claim": name, "paper": paper.paper, **_row(claim, judgement)})
            details += [
                {"claim": name, "label": each.label, **_numbers(each), "finding": each.finding}
                for each in judgement.quantities
            ]
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(details, columns=DETAIL_COLUMNS)


def _row(claim: ClaimSettings, judgement: Judgement) -> dict[str, object]:
    telling = judgement.telling
    findings = [judged.finding for judged in judgement.quantities]
    kinds = dict.fromkeys(judged.uncertainty for judged in judgement.quantities)
    row: dict[str, object] = {
        "section": claim.section,
        "statement": claim.statement,
        "judged_from": claim.judged_from,
        "published": claim.published,
        "unit": claim.unit,
        "allowed": allowed_text(claim),
        "quantities": len(findings),
        **{name: findings.count(name) for name in ("inside", "outside", "undecided")},
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "stands_in": judgement.stands_in,
        "because": claim.because,
    }
    if telling is not None:
        row |= {"label": telling.label, **_numbers(telling)}
    return row | {"uncertainty": ", ".join(kinds)}


def _numbers(judged: Judged) -> dict[str, object]:
    quantity = judged.quantity
    return {
        "estimate": quantity.estimate,
        "low": quantity.low,
        "high": quantity.high,
        "uncertainty": judged.uncertainty,
    }


def allowed_text(claim: ClaimSettings) -> str:
    """Say which values a statement allows, such as ``at most 2``."""
    texts = []
    for key, words in (
        ("at_least", "at least"),
        ("at_most", "at most"),
        ("above", "above"),
        ("below", "below"),
    ):
        bound = getattr(claim, key)
        if bound is not None:
            texts.append(f"{words} {bound:g}")
    return ", ".join(texts)


def write_claims(
    papers: Sequence[PaperClaims], artefacts: Artefacts, scale: str, folder: Path
) -> None:
    """Judge statements and write ``claims.csv``, ``claims_details.csv`` and ``claims.md``.

    Args:
        papers: the statements.
        artefacts: what there is to judge them by.
        scale: whose results these are.
        folder: takes the files.
    """
    claims, details = judge_all(papers, artefacts)
    write_frame(folder / "claims.csv", claims)
    write_frame(folder / "claims_details.csv", details)
    write_text(folder / "claims.md", to_markdown(papers, claims, lint_published(), scale))


def to_markdown(
    papers: Sequence[PaperClaims], claims: pd.DataFrame, misprints: pd.DataFrame, scale: str
) -> str:
    """Render judged statements as Markdown, a table a paper.

    Args:
        papers: the statements.
        claims: as ``judge_all`` returns them.
        misprints: as ``lint_published`` returns them.
        scale: whose results these are.
    """
    lines = [f"# Do the papers' statements hold at the {scale} scale?", "", summary(claims), ""]
    if scale in SCALE_NOTES:
        lines += [SCALE_NOTES[scale], ""]
    for paper in papers:
        rows = [
            {
                "Section": row["section"],
                "Statement": row["statement"],
                "Published": row["published"],
                "Ours": ours_text(row),
                "Holds if": holds_if(row),
                "Verdict": ": ".join(filter(None, [f"**{row['verdict']}**", row["reason"]])),
            }
            for _, row in claims[claims["paper"] == paper.paper].iterrows()
        ]
        table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
        lines += [f"## {paper.title}", "", f"{paper.citation}.", "", table, ""]
    lines += [
        "Ours: of several quantities the one that says most against the statement, with its "
        "nominal 95 % interval over runs or test examples where there is one; how many quantities "
        "lie where the statement says. Quantities of one statement share the level (Holm). Without "
        "an interval the value alone is judged, as for these networks. All quantities are in "
        "claims_details.csv; why bounds are as they are is in claims.csv.",
        "",
        "## Contradictions in the papers' own tables",
        "",
        misprints.to_markdown(index=False, disable_numparse=True),
    ]
    return "\n".join(lines) + "\n"


def summary(claims: pd.DataFrame) -> str:
    """Return a sentence that counts the verdicts."""
    counts = claims["verdict"].value_counts()
    holding, failing, undecided, missing = (counts.get(verdict, 0) for verdict in VERDICTS)
    return (
        f"Of {len(claims)} statements {holding} hold, {failing} do not hold, {undecided} are "
        f"undecided and {missing} were not run."
    )


def ours_text(row: pd.Series) -> str:
    """Return our value of a statement and, where it is one quantity, what it stands in for."""
    texts = [value_text(row)]
    if row["quantities"] == 1 and isinstance(row["stands_in"], str):
        texts.append(row["stands_in"])
    return "; ".join(filter(None, texts))


def value_text(row: pd.Series) -> str:
    """Return our value of a statement with its interval, unit and whose it is."""
    if not row["quantities"]:
        return ""
    text = number_text(row["estimate"], row["low"], row["high"])
    if row["unit"]:
        text += f" {row['unit']}"
    remarks = []
    if row["quantities"] > 1:
        remarks = [row["label"], f"{row['inside']} of {row['quantities']} inside"]
    if pd.isna(row["low"]):
        remarks.append("value alone")
    return f"{text} ({'; '.join(remarks)})" if remarks else text


def number_text(estimate: float, low: float, high: float) -> str:
    """Return a value with its interval, if it has one."""
    interval = f" [{low:.3g}, {high:.3g}]" if pd.notna(low) else ""
    return f"{estimate:.4g}{interval}"


def holds_if(row: pd.Series) -> str:
    """Return the range that a statement allows, with its unit."""
    return " ".join(filter(None, [row["allowed"], row["unit"]]))


def _measured(
    part: MeasuredSettings, claim: ClaimSettings, frame: pd.DataFrame
) -> dict[str, Measured]:
    """Return the quantities of a part of a statement, by the label of their rows."""
    rows = _select(frame, part.rows)
    missing = [name for name in claim.by if name not in rows]
    if missing:
        raise NotRunError(_no_column(missing[0], frame))
    groups: Iterator[tuple[str, pd.DataFrame]] = iter([("", rows)])
    if claim.by:
        groups = (
            (", ".join(map(_shown, keys)), group)
            for keys, group in rows.groupby(claim.by, sort=False, dropna=False)
        )
    found: dict[str, Measured] = {}
    for label, group in groups:
        found |= _of_group(part, claim, label, group)
    return found


def _of_group(
    part: MeasuredSettings, claim: ClaimSettings, label: str, group: pd.DataFrame
) -> dict[str, Measured]:
    values = _evaluate(group, part.value)
    if not np.isfinite(values).all():
        where = f" for {label}" if label else ""
        raise NotRunError(f"{part.value} has no value{where}")
    if part.statistic == "only":
        if len(group) != 1:
            where = f" for {label}" if label else ""
            raise NotRunError(f"{len(group)} rows{where} where the rule expects one")
        return {label: _with_interval(part.value, group.iloc[0], float(values[0]))}
    if claim.along not in group:
        raise NotRunError(_no_column(claim.along, group))
    order = np.argsort(group[claim.along].to_numpy(float), kind="stable")
    places, values = group[claim.along].to_numpy(float)[order], values[order]
    if part.statistic == "steps":
        if len(values) < 2:
            raise NotRunError("one row where the rule compares rows with the next")
        labels = [
            ", ".join(filter(None, [label, f"{claim.along} {first:g} to {second:g}"]))
            for first, second in itertools.pairwise(places)
        ]
        return {
            name: Measured(Quantity(float(step)), "none")
            for name, step in zip(labels, np.diff(values), strict=True)
        }
    return {label: Measured(STATISTICS[part.statistic](places, values), "none")}


def _uniformity(places: Floats, values: Floats) -> Quantity:
    """Return the largest distance of a sample's distribution function from that of [0, 1].

    Its interval is that of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990).
    """
    ordered = np.sort(values)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    distance = float(max((ordered - steps[:-1]).max(), (steps[1:] - ordered).max()))
    width = float(np.sqrt(np.log(2 / (1 - LEVEL)) / (2 * len(ordered))))
    return Quantity(distance, max(0.0, distance - width), distance + width)


STATISTICS: Mapping[Statistic, Callable[[Floats, Floats], Quantity]] = {
    "first": lambda places, values: Quantity(float(values[0])),
    "last": lambda places, values: Quantity(float(values[-1])),
    "min": lambda places, values: Quantity(float(values.min())),
    "max": lambda places, values: Quantity(float(values.max())),
    "mean": lambda places, values: Quantity(float(values.mean())),
    "place_of_max": lambda places, values: Quantity(float(places[values.argmax()])),
    "height_above_ends": lambda places, values: Quantity(float(height_above_ends(values))),
    "height_above_line": lambda places, values: Quantity(float(height_above_line(values, places))),
    "depth_below_ends": lambda places, values: Quantity(float(height_above_ends(-values))),
    "rank_correlation": lambda places, values: Quantity(rank_correlation(places, values)),
    "uniformity": _uniformity,
}
"""Of ordered places and the values there; ``only`` and ``steps`` are made by hand."""


def _select(frame: pd.DataFrame, rows: str) -> pd.DataFrame:
    if not rows:
        selected = frame
    else:
        try:
            selected = frame.query(rows, engine="python")
        except pd.errors.UndefinedVariableError as error:
            raise NotRunError(_no_column(_undefined(error), frame)) from None
    if selected.empty:
        raise NotRunError(f"no row with {rows}" if rows else "no rows")
    return selected


def _evaluate(frame: pd.DataFrame, expression: str) -> Floats:
    try:
        # Each column that pandas is given costs as much as the expression.
        named = frame.loc[:, [name for name in frame if str(name) in expression]]
        values = named.eval(expression, engine="python")
    except pd.errors.UndefinedVariableError as error:
        raise NotRunError(_no_column(_undefined(error), frame)) from None
    return np.asarray(values, dtype=float)


def _undefined(error: Exception) -> str:
    return str(error).partition("'")[2].partition("'")[0]


def _no_column(name: str, frame: pd.DataFrame) -> str:
    hint = nearest(name, map(str, frame.columns))
    return f"there is no column {name!r}{hint}; if another version made it, make it again"


def _with_interval(value: str, row: pd.Series, estimate: float) -> Measured:
    """Return a value with the interval that its table has for it."""
    low, high = row.get(f"{value}_low"), row.get(f"{value}_high")
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return Measured(Quantity(estimate), "none")
    kind = row.get(f"{value}_interval", row.get("interval"))
    over_runs = isinstance(kind, str) and kind.endswith("runs")
    freedom = float(row["runs"]) - 1 if over_runs else np.inf
    quantity = Quantity(estimate, float(low), float(high), freedom)
    return Measured(quantity, "runs" if over_runs else "examples")


def _minus(own: Measured, other: Measured) -> Measured:
    if not (own.quantity.has_interval and other.quantity.has_interval):
        return Measured(Quantity(own.quantity.estimate - other.quantity.estimate), "none")
    kinds = dict.fromkeys([own.uncertainty, other.uncertainty])
    return Measured(own.quantity.minus(other.quantity), " and ".join(kinds))


def _divided_by(own: Measured, other: Measured) -> Measured:
    if other.quantity.estimate == 0:
        raise NotRunError("what it is divided by is zero")
    return Measured(Quantity(own.quantity.estimate / other.quantity.estimate), "none")


def _reference(part: MeasuredSettings, frame: pd.DataFrame) -> float:
    rows = _select(frame, part.rows)
    if len(rows) != 1:
        raise NotRunError(f"{len(rows)} rows with {part.rows} where the rule expects one")
    return float(_evaluate(rows, part.value)[0])


def _shifted(own: Measured, constant: float) -> Measured:
    quantity = own.quantity
    return replace(
        own,
        quantity=replace(
            quantity,
            estimate=quantity.estimate - constant,
            low=quantity.low - constant,
            high=quantity.high - constant,
        ),
    )


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _stands_in(claim: ClaimSettings, frame: pd.DataFrame) -> str:
    """Name our data sets and networks that a table holds against others of the paper."""
    own, paper = ["dataset", "network"], ["published_dataset", "published_network"]
    if not {*own, *paper} <= {*frame.columns}:
        return ""
    rows = _select(frame, claim.rows)[own + paper].dropna().drop_duplicates()
    return "; ".join(
        f"{', '.join(row[own])} for {', '.join(row[paper])}"
        for _, row in rows.iterrows()
        if [*row[own]] != [*row[paper]]
    )
