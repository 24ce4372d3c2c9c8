"""docs/assumptions.md says where each choice is made: is it, and is it so?"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from mode_connectivity.config import Config, load_config
from mode_connectivity.networks.registry import specification
from mode_connectivity.settings_reference import blocks
from mode_connectivity.training.recipes import NetworkSettings

CHECKOUT = Path(__file__).parents[2]
LIBRARY = CHECKOUT / "src" / "mode_connectivity"
PAGE = (CHECKOUT / "docs" / "assumptions.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| what |")
]
PLACES = sorted({place for row in ROWS for place in re.findall(r"`([^`]+)`", row[-1])})


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config({"scale": "paper"}, CHECKOUT)


def setting(config: Config, path: str) -> Any:
    """Return what the paper scale has at a path; an option that is left out has its default."""
    found: Any = config
    for key in path.split("."):
        found = found[key] if isinstance(found, Mapping) else _of_block(found, key)
    return found.model_dump(mode="json") if isinstance(found, BaseModel) else found


def _of_block(block: Any, key: str) -> Any:
    if isinstance(block, NetworkSettings) and key != "name":
        known = specification(block.name).options
        return block.options.get(key, known[key].default)
    return getattr(block, key)


def test_every_row_is_whole() -> None:
    assert len(ROWS) > 120
    for row in ROWS:
        assert len(row) == 5, row
        assert row[0], row
        assert row[2], row
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", row[-1]), row
    # A table ends where a line is empty: none is torn.
    tables = re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE)
    assert all(table.startswith("| what | not given | chosen |") for table in tables)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_chosen_is_what_the_config_has(place: str, config: Config) -> None:
    if place.endswith((".py", ".yaml")):
        assert (LIBRARY / place).is_file() or (CHECKOUT / place).is_file()
        return
    path, has_value, value = place.partition(": ")
    found = setting(config, path)
    if has_value:
        assert found == yaml.safe_load(value)


def keys_in(value: Any) -> set[str]:
    if not isinstance(value, Mapping):
        return set()
    return {*value, *(key for inner in value.values() for key in keys_in(inner))}


def test_settings_that_the_text_names_are_there() -> None:
    known = {key.name for block in blocks() for key in block.keys}
    named = [text for text in re.findall(r"`([a-z_]+: [^`]+)`", PAGE) if "." not in text]
    assert len(named) > 10
    for text in named:
        assert keys_in(yaml.safe_load(text)) <= known, text
