"""The pins of the lock file, conda environments, containers and pyproject.toml agree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_CUDA = "https://download.pytorch.org/whl/cpu"


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


@pytest.fixture(scope="module", params=["mode_connectivity", "mode_connectivity_cpu"])
def conda(request: pytest.FixtureRequest) -> list[str | dict[str, list[str]]]:
    """The dependencies of a conda environment."""
    environment = yaml.safe_load((ROOT / "envs" / f"{request.param}.yaml").read_text())
    dependencies: list[str | dict[str, list[str]]] = environment["dependencies"]
    return dependencies


def _installed_by_pip(conda: list[str | dict[str, list[str]]]) -> list[str]:
    (pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    return pip


def test_conda_environments_pin_what_is_locked(
    locked: dict[str, str], project: dict[str, object], conda: list[str | dict[str, list[str]]]
) -> None:
    names = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert _pins(_installed_by_pip(conda)) == {name: locked[name] for name in names}


def test_conda_environments_and_containers_have_one_python(
    project: dict[str, object], conda: list[str | dict[str, list[str]]]
) -> None:
    (version,) = (str(entry).partition("=")[2] for entry in conda if "python=" in entry)
    assert SpecifierSet(project["requires-python"]).contains(version)
    assert f"python:{version}-" in _base("Dockerfile")
    assert _base("Dockerfile") == _base("mode_connectivity.def")


def test_the_environment_without_cuda_differs_in_its_index_alone() -> None:
    both = [
        yaml.safe_load((ROOT / "envs" / f"mode_connectivity{suffix}.yaml").read_text())
        for suffix in ("", "_cpu")
    ]
    index, *_ = _installed_by_pip(both[1]["dependencies"])
    assert index == f"--extra-index-url {WITHOUT_CUDA}"
    _installed_by_pip(both[1]["dependencies"]).remove(index)
    assert both[0] == both[1]


@pytest.mark.parametrize("name", ["Dockerfile", "mode_connectivity.def"])
def test_containers_install_the_lock_file_and_nothing_else(name: str) -> None:
    text = (ROOT / "containers" / name).read_text()
    installs = re.findall(r"pip install (.*)$", text, re.MULTILINE)
    assert len(installs) == 1
    assert installs[0].endswith("--requirement /opt/requirements.lock")
    assert re.search(r"requirements\.lock /opt/requirements\.lock$", text, re.MULTILINE)
    assert WITHOUT_CUDA in text


def test_the_rehearsal_installs_an_executor_that_the_slurm_extra_allows(
    project: dict[str, object],
) -> None:
    (requirement,) = map(Requirement, project["optional-dependencies"]["slurm"])
    lines = (ROOT / "tests" / "slurm" / "requirements.txt").read_text().splitlines()
    version = _pins(lines)[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
    # Before, a job with a GPU asked for tasks that many clusters refuse.
    assert not requirement.specifier.contains("2.7.0")


def _base(name: str) -> str:
    text = (ROOT / "containers" / name).read_text()
    (image,) = re.findall(r"^from:? (.+)$", text, re.MULTILINE | re.IGNORECASE)
    return image
