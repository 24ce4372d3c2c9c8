"""The pins of the lock file, the conda environment and pyproject.toml agree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def _pins(lines: list[str]) -> dict[str, str]:
    matches = [re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line.strip()) for line in lines]
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    return _pins((ROOT / "requirements.lock").read_text().splitlines())


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_lock_file_satisfies_every_requirement(
    locked: dict[str, str], project: dict[str, object]
) -> None:
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, requirements):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} but {version} is locked"


def test_the_conda_environment_pins_what_is_locked(
    locked: dict[str, str], project: dict[str, object]
) -> None:
    environment = yaml.safe_load((ROOT / "envs" / "mode_connectivity.yaml").read_text())
    (pip,) = (entry for entry in environment["dependencies"] if isinstance(entry, dict))
    pins = _pins(pip["pip"])
    names = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert pins == {name: locked[name] for name in names}
