"""Titles and captions of the artefacts, for reports. Nothing here imports torch."""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, TypeAdapter

from mode_connectivity.config import Config
from mode_connectivity.reporting.settings import artefact_base
from mode_connectivity.settings import Settings
from mode_connectivity.yaml_files import read_yaml

CAPTIONS = Path(__file__).parents[3] / "resources" / "captions.yaml"
YOURS = "Yours"
"""What reports call the figures of the user's own."""


class Caption(Settings):
    """What an artefact is called and what it shows."""

    title: str = Field(min_length=1)
    caption: str = Field(min_length=1)


def load_captions(path: Path = CAPTIONS) -> dict[str, Caption]:
    """Read the captions by artefact."""
    return TypeAdapter(dict[str, Caption]).validate_python(read_yaml(path))


def captions_of(config: Config) -> dict[str, Caption]:
    """Return the captions by artefact, those of the user's own figures among them."""
    own = {
        name: Caption(title=figure.title, caption=figure.caption)
        for name, figure in config.figures.items()
    }
    return {**load_captions(), **own}


def paper_name(paper: str) -> str:
    """Return how people call a paper: ``Garipov et al. 2018`` for ``garipov2018``."""
    match = re.fullmatch(r"([a-z]+)(\d{4})", paper)
    return f"{match[1].capitalize()} et al. {match[2]}" if match else paper


def caption_of(artefact: str, captions: Mapping[str, Caption]) -> Caption:
    """Return the caption of an artefact; one row of a table has that of the table.

    Args:
        artefact: its name, or that of one of its rows.
        captions: loaded.
    """
    base = artefact_base(artefact)
    found = captions[base]
    row = artefact.removeprefix(base).strip("_")
    return found.model_copy(update={"title": f"{found.title}, {row}"}) if row else found
