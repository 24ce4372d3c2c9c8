"""Which artefacts belong on the page, and what stands behind each. Nothing here imports torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mode_connectivity import plan
from mode_connectivity.config import Config
from mode_connectivity.reporting.captions import CAPTIONS

SECTIONS = {
    "dataset": "datasets",
    "recipe": "recipes",
    "curve": "curves",
    "simplex": "simplexes",
    "plane": "planes",
    "geometry": "geometries",
    "ensemble": "ensembles",
}
"""The part of the config that a wildcard of a job is a name in."""


@dataclass(frozen=True)
class ShownArtefact:
    """An artefact that belongs on the page, made or not.

    Attributes:
        name: of the artefact.
        kinds: ``tables``, ``figures`` or both.
        settings: its own and, by section of the config, those of all that it is made of; what is
            as by default is left out.
        records: paths of the records of the jobs behind it, below the results.
    """

    name: str
    kinds: tuple[str, ...]
    settings: Mapping[str, Any]
    records: tuple[str, ...] = ()


def page_sources() -> list[Path]:
    """Return the files that the page is made of, beside code: template, style, script, captions."""
    folder = Path(__file__).parent
    return [*sorted(folder.glob("page.*")), CAPTIONS]


def shown_artefacts(config: Config, names: Iterable[str] = ()) -> list[ShownArtefact]:
    """Return the artefacts that belong on the page.

    Args:
        config: the config.
        names: artefacts, rows of them or papers; those that the config selects if empty.
    """
    return [_shown(config, name) for name in plan.selected_artefacts(config, names)]


def _shown(config: Config, name: str) -> ShownArtefact:
    jobs = plan.jobs_of_artefacts(config, [name])
    own = plan.artefact_settings(config, name)
    section = "figures" if name in config.figures else "artefacts"
    settings: dict[str, Any] = {section: {name: _as_written(own)}}
    for job in jobs:
        for wildcard, value in job.wildcards.items():
            if (part := SECTIONS.get(wildcard)) is not None:
                record = getattr(config, part)[value]
                settings.setdefault(part, {})[value] = _as_written(record)
    return ShownArtefact(
        name=name,
        kinds=tuple(plan.artefact_kinds(name)),
        settings=settings,
        records=tuple(path for job in jobs for path in job.outputs if path.endswith(".json")),
    )


def _as_written(settings: Any) -> Any:
    return settings.model_dump(mode="json", exclude_defaults=True)
