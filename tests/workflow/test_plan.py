"""The plan of the library is that of Snakemake, job by job."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from pipeline import CHECKOUT, EVERYTHING, RULES, Project

from mode_connectivity import plan
from mode_connectivity.config import Config, load_config

BLOCK = re.compile(r"^(?:local)?rule (\w+):\n((?:    .+\n)+)", re.MULTILINE)

Jobs = set[tuple[str, frozenset[str], frozenset[str], str]]
"""Rule, inputs, outputs and log of each."""


def jobs_of_snakemake(project: Project, *targets: str, options: Iterable[str] = ()) -> Jobs:
    """Return what a run of all jobs would do; targets, which make nothing, are left out."""
    output = project.make(*targets, options=["--dry-run", "--forceall", *options])
    jobs = set()
    for rule, text in BLOCK.findall(output):
        fields = dict(re.findall(r"^    (\w+): (.*)$", text, re.MULTILINE))
        if "output" in fields:
            (log,) = below_results(fields["log"])
            inputs, outputs = (below_results(fields.get(key, "")) for key in ("input", "output"))
            jobs.add((rule, inputs, outputs, log.removeprefix("logs/")))
    assert jobs, output
    return jobs


def below_results(listed: str) -> frozenset[str]:
    """Return the paths of a list without the folder of the results."""
    return frozenset(re.sub(r"^results/\w+/", "", path) for path in listed.split(", ") if path)


def told(jobs: Iterable[plan.Job]) -> Jobs:
    return {(job.rule, frozenset(job.inputs), frozenset(job.outputs), job.log) for job in jobs}


def files_of_artefacts(config: Config) -> list[str]:
    return [path for name in plan.selected_artefacts(config) for path in plan.artefact_files(name)]


def config_of(project: Project, scale: str = "demo") -> Config:
    path = project.folder / "config.yaml"
    user = yaml.safe_load(path.read_text()) if path.exists() else {}
    before = Path.cwd()
    os.chdir(project.folder)
    try:
        return load_config({**user, "scale": scale}, CHECKOUT)
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project without results."""
    return Project.create(tmp_path_factory.mktemp("plan") / "small")


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_all_artefacts_of_a_scale(tmp_path, scale) -> None:
    project = Project(tmp_path)
    theirs = jobs_of_snakemake(project, options=["--config", f"scale={scale}"])
    config = config_of(project, scale)
    ours = plan.jobs_behind(config, [*files_of_artefacts(config), *plan.report_files()])
    assert told(ours) == theirs


def test_all_targets_of_the_small_project(small) -> None:
    theirs = jobs_of_snakemake(small, *EVERYTHING)
    config = config_of(small)
    files = [*files_of_artefacts(config), *plan.report_files()]
    ours = plan.jobs_behind(config, [*files, *below_results(", ".join(EVERYTHING[1:]))])
    assert told(ours) == theirs
    assert {rule for rule, *_ in theirs} == set(plan.RULES) == set(RULES)


@pytest.mark.parametrize(
    ("scale", "selection"),
    [
        ("demo", ["garipov2018_table2_digits_vgg16"]),
        ("demo", ["gotmare2018_modes", "garipov2018_trivial_path"]),
        ("demo", ["benton2021"]),
        ("paper", ["garipov2018_table1_cifar10_vgg16"]),
        ("paper", ["benton2021_figure11"]),
    ],
)
def test_some_artefacts_rows_and_papers(tmp_path, scale, selection) -> None:
    project = Project(tmp_path)
    theirs = jobs_of_snakemake(project, *selection, options=["--config", f"scale={scale}"])
    config = config_of(project, scale)
    ours = plan.jobs_of_artefacts(config, plan.selected_artefacts(config, selection))
    assert told(ours) == theirs


@pytest.mark.parametrize(
    "path",
    [
        "networks/narrow_finetuned/seed1/weights.safetensors",
        "curves/narrow_elsewhere_polychain/grid.csv",
        "simplexes/preresnet8_espro/seed1/connectors0/grid.csv",
        "ensembles/preresnet8_weight_average/corruptions/fog/predictions.safetensors",
    ],
)
def test_single_files(small, path) -> None:
    theirs = jobs_of_snakemake(small, f"results/demo/{path}")
    assert told(plan.jobs_behind(config_of(small), [path])) == theirs
