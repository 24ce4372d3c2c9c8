"""What the page shows, read from the results of a scale; what is missing is told, not required."""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image

from mode_connectivity.reporting.captions import Caption
from mode_connectivity.reporting.claims import number_text
from mode_connectivity.reporting.rendering import Layout, TableView, view_table

# The same text, several times as fast where PyYAML has libyaml.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

LOSSLESS_EFFORT = 4
"""Of WebP, from 0 to 6: the next steps take twice as long for a percent of size."""


@dataclass(frozen=True)
class FileLink:
    """A file beside the page: what it is called, and its path from there."""

    label: str
    path: str


@dataclass(frozen=True)
class Picture:
    """A figure in the page.

    Attributes:
        source: the picture itself, as a data URL.
        width: in pixels.
        height: in pixels.
        description: for those who do not see it.
        points: where its points lie, as JSON; empty if there are none to explore.
    """

    source: str
    width: int
    height: int
    description: str
    points: str = ""


@dataclass(frozen=True)
class Cost:
    """What the jobs behind something took.

    Attributes:
        jobs: how many there are.
        recorded: of how many a record was found.
        seconds: of their work, together.
        commits: of the code that they ran, with the number of jobs of each.
        devices: likewise.
        versions: of this project and of PyTorch, likewise.
    """

    jobs: int
    recorded: int
    seconds: float
    commits: Counter[str]
    devices: Counter[str]
    versions: Counter[str]

    @property
    def duration(self) -> str:
        """The seconds, for people."""
        return duration(self.seconds)


@dataclass(frozen=True)
class ArtefactContent:
    """A table or figure, or both, of one name.

    Attributes:
        name: of the artefact.
        caption: its title and what it shows.
        table: if it has one that was made.
        picture: likewise.
        files: of both.
        settings: what it was made of, as YAML.
        cost: of everything behind it.
        missing: what of it was not made.
        command: that makes it.
        remarks: why something of it is not shown.
    """

    name: str
    caption: Caption
    table: TableView | None = None
    picture: Picture | None = None
    files: tuple[FileLink, ...] = ()
    settings: str = ""
    cost: Cost | None = None
    missing: tuple[str, ...] = ()
    command: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperContent:
    """What there is of a paper: its claims and its artefacts; what people call it."""

    name: str
    called: str
    title: str
    citation: str
    claims: tuple["ClaimContent", ...]
    artefacts: tuple[ArtefactContent, ...]


@dataclass(frozen=True)
class Bar:
    """A quantity of a claim, drawn within its row: shares of the width, and its numbers."""

    label: str
    text: str
    finding: str
    at: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClaimContent:
    """A judged statement.

    Attributes:
        row: of ``claims.csv``.
        ours: our value, as text.
        holds_if: the range it allows, as text.
        bars: its quantities.
        allowed: where the range lies within the width of the bars, from and to.
        artefact: what it is judged from, if that is on the page.
    """

    row: Mapping[str, Any]
    ours: str
    holds_if: str
    bars: tuple[Bar, ...] = ()
    allowed: tuple[float, float] = (0.0, 1.0)
    artefact: str = ""


@dataclass
class Records:
    """The records of the jobs of a scale, by the path of each below the results."""

    by_path: Mapping[str, Mapping[str, Any]]
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, results: Path) -> "Records":
        """Read every record below the results of a scale; damaged ones are told apart."""
        found: dict[str, Mapping[str, Any]] = {}
        unreadable = []
        for path in sorted(results.rglob("*.json")):
            name = str(path.relative_to(results))
            if name.startswith("figures/"):
                continue
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                unreadable.append(name)
                continue
            if isinstance(content, Mapping) and "work_seconds" in content:
                found[name] = content
        return cls(found, unreadable)

    def cost(self, paths: Iterable[str]) -> Cost:
        """Add up what jobs took, given by the paths of their records."""
        listed = [*paths]
        records = [self.by_path[path] for path in listed if path in self.by_path]
        return Cost(
            jobs=len(listed),
            recorded=len(records),
            seconds=sum(float(record["work_seconds"]) for record in records),
            commits=Counter(str(record.get("commit") or "unknown")[:10] for record in records),
            devices=Counter(str(record.get("device") or "unknown") for record in records),
            versions=Counter(_versions(record) for record in records),
        )


def _versions(record: Mapping[str, Any]) -> str:
    versions = record.get("versions") or {}
    return (
        f"mode-connectivity {versions.get('mode-connectivity')}, PyTorch {versions.get('torch')}, "
        f"Python {record.get('python')}"
    )


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def read_picture(stem: Path, caption: Caption) -> Picture:
    """Read a figure for the page.

    Args:
        stem: path of the figure without suffix.
        caption: what it shows.

    Raises:
        OSError: the picture is missing or damaged.
    """
    buffer = io.BytesIO()
    with Image.open(stem.with_name(f"{stem.name}.png")) as picture:
        width, height = picture.size
        picture.convert("RGB").save(buffer, "WEBP", lossless=True, method=LOSSLESS_EFFORT)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    places = stem.with_name(f"{stem.name}.json")
    points, panels = "", []
    if places.is_file():
        try:
            panels = json.loads(places.read_text(encoding="utf-8"))["panels"]
            points = json.dumps(panels, ensure_ascii=False, separators=(",", ":"))
        except (ValueError, KeyError, TypeError):
            panels = []
    return Picture(
        source=f"data:image/webp;base64,{encoded}",
        width=width,
        height=height,
        description=describe(caption, panels),
        points=points if panels else "",
    )


def describe(caption: Caption, panels: Sequence[Mapping[str, Any]]) -> str:
    """Describe a figure in words: what it shows, and what its panels have on their axes."""
    parts = [f"{caption.title}. {caption.caption}"]
    for number, panel in enumerate(panels, start=1):
        place = f"Panel {number}" if len(panels) > 1 else "The panel"
        title = f" ({panel['title']})" if panel["title"] else ""
        named = list(dict.fromkeys(part["label"] for part in panel["series"] if part["label"]))
        lines = f": {', '.join(named)}" if named else ""
        parts.append(
            f"{place}{title} has {panel['y'] or 'values'} against {panel['x'] or 'x'}{lines}."
        )
    return " ".join(parts)


def read_table(stem: Path, layout: Layout) -> TableView:
    """Read a table for the page.

    Args:
        stem: path of the table without suffix.
        layout: what is shown of it.

    Raises:
        OSError, ValueError, KeyError: the table is missing, damaged or of another version.
    """
    return view_table(pd.read_csv(stem.with_name(f"{stem.name}.csv")), layout)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as YAML, in their own order and without what was left empty."""
    return yaml.dump(
        _without_empty(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96
    )


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _without_empty(item) for key, item in value.items() if item not in (None, {}, [])
        }
    return [_without_empty(item) for item in value] if isinstance(value, list | tuple) else value


def claim_content(
    row: Mapping[str, Any], details: pd.DataFrame, *, ours: str, holds_if: str,
    bounds: tuple[float, float], artefacts: Iterable[str],
) -> ClaimContent:  # fmt: skip
    """Lay out a judged statement.

    Args:
        row: of ``claims.csv``.
        details: the rows of ``claims_details.csv`` of the same statement.
        ours: our value, as text.
        holds_if: the range it allows, as text.
        bounds: of the range, infinite where it has no end.
        artefacts: those on the page.
    """
    numbers = details[["estimate", "low", "high"]].to_numpy(float)
    finite = [value for value in [*numbers.ravel(), *bounds] if abs(value) < float("inf")]
    left, right = (min(finite), max(finite)) if finite else (0.0, 1.0)
    room = 0.06 * (right - left) or 1.0
    left, right = left - room, right + room

    def place(value: float) -> float:
        return round(min(max((value - left) / (right - left), 0.0), 1.0), 4)

    bars = []
    for _, each in details.iterrows():
        has_interval = pd.notna(each["low"])
        bars.append(
            Bar(
                label="" if pd.isna(each["label"]) else str(each["label"]),
                text=number_text(each["estimate"], each["low"], each["high"]),
                finding=each["finding"],
                at=place(each["estimate"]),
                low=place(each["low"]) if has_interval else None,
                high=place(each["high"]) if has_interval else None,
            )
        )
    artefact = str(row["judged_from"]).partition("/")[2]
    return ClaimContent(
        row=row,
        ours=ours,
        holds_if=holds_if,
        bars=tuple(bars),
        allowed=(place(bounds[0]), place(bounds[1])),
        artefact=artefact if artefact in set(artefacts) else "",
    )
