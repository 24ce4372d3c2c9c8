"""Configs of a test's own: a scale in one file, and what a user writes over it."""

import textwrap
from pathlib import Path

import yaml

from mode_connectivity.config import Config, load_config


def write_scale(root: Path, content: str) -> Path:
    """Write the demo scale of a project and return the project's folder."""
    folder = root / "config" / "demo"
    folder.mkdir(parents=True)
    (folder / "all.yaml").write_text(content)
    return root


def load(root: Path, text: str = "{}") -> Config:
    """Load the config of a project under what a user writes, as YAML."""
    return load_config(yaml.safe_load(textwrap.dedent(text)), root)
