"""What the documentation says, done literally."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from pipeline import CHECKOUT, Project, without_executor
from safetensors.torch import load_file, save_file

from mode_connectivity.__main__ import main
from mode_connectivity.config import merge

DOCS = CHECKOUT / "docs"


def _blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def _commands(program: str) -> list[str]:
    pages = [CHECKOUT / "README.md", *sorted(DOCS.rglob("*.md"))]
    lines = [line.partition("#")[0].strip() for page in pages for line in _lines(page)]
    return list(dict.fromkeys(line for line in lines if line.startswith(program)))


def _lines(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.sub(r"\\\n *", "", block).splitlines()]


@pytest.mark.parametrize("command", _commands("snakemake"))
def test_every_snakemake_command_has_a_plan(command: str, tmp_path: Path) -> None:
    # Its executor is not installed where these tests run.
    here = without_executor(CHECKOUT / "profiles" / "slurm", tmp_path / "profile")
    _, *arguments = shlex.split(command.replace("profiles/slurm", str(here)))
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile")]
    place = ["--dry-run", "--quiet", "all", "--directory", str(tmp_path)]
    planned = subprocess.run(
        [*snakemake, *place, *arguments], capture_output=True, text=True, check=False, cwd=CHECKOUT
    )
    assert planned.returncode == 0, planned.stderr


STATUS = "python -m mode_connectivity status"


@pytest.mark.parametrize("command", _commands(STATUS))
def test_every_status_is_shown(command: str, tmp_path: Path) -> None:
    folder = shlex.quote(str(tmp_path))
    shown = subprocess.run(
        command.replace(STATUS, f"{STATUS} --once --directory {folder}", 1),
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT / "src"),
        },
    )
    assert shown.returncode == 0, shown.stderr
    assert "artefacts" in shown.stdout


def test_the_library_example_connects_two_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    connecting, aligning, _ = _blocks("library.md", "python")
    scope = {"project": CHECKOUT, "folder": tmp_path}
    exec(compile(connecting, "library.md", "exec"), scope)
    grid = scope["grid"]
    assert isinstance(grid, pd.DataFrame)
    assert grid["test_error"].iloc[[0, -1]].max() < 5
    assert grid["test_error"].max() < 6
    exec(compile(aligning, "library.md", "exec"), scope)
    assert scope["together"] < 0.1 * scope["apart"]


def test_the_files_of_a_run_open_as_documented(finished: Project) -> None:
    *_, code = _blocks("library.md", "python")
    code = code.replace("networks/digits_fully_connected", "networks/perceptron")
    code = code.replace("curves/digits_fully_connected_bezier", "curves/perceptron_bezier")
    scope = {"results": finished.results}
    exec(compile(code, "library.md", "exec"), scope)
    assert scope["bend"].keys() == scope["state_dict"].keys()


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A folder with the images that the documentation speaks of."""
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for level, name in ((40, "daisy"), (200, "tulip")):
            folder = tmp_path / "data" / "flowers" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.normal(level, 20, (9, 9, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path


@pytest.fixture
def adding(flowers: Path) -> Project:
    """A project with everything that adding.md adds, and the data that it speaks of."""
    tmp_path = flowers
    source, _ = _blocks("adding.md", "python")
    (tmp_path / "my_networks.py").write_text(source)
    scope: dict[str, Any] = {}
    exec(compile(source, "adding.md", "exec"), scope)
    (tmp_path / "weights").mkdir()
    for seed, name in enumerate(("mine", "yours")):
        torch.manual_seed(seed)
        network = scope["two_layers"](input_shape=(3, 32, 32), classes=2, hidden=128)
        save_file(network.state_dict(), tmp_path / "weights" / f"{name}.safetensors")
    config: dict[str, Any] = {}
    for block in _blocks("adding.md", "yaml"):
        if block.startswith("# flowers_claims.yaml"):
            (tmp_path / "flowers_claims.yaml").write_text(block)
        else:
            config = merge(config, yaml.safe_load(block))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return Project(tmp_path)


def test_adding_a_data_set_a_network_a_curve_an_ensemble_and_rows(
    adding: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = adding
    project.make("garipov2018_table2_flowers", "garipov2018_table1_flowers", cores=2)
    table = pd.read_csv(project.results / "tables" / "garipov2018_table2_flowers.csv")
    assert table["curve"].tolist() == ["Single", "Segment", "Bezier", "Aligned segment"]
    assert set(table["dataset"]) == {"Flowers"}
    assert table["test_error_min"].max() == 0
    table = pd.read_csv(project.results / "tables" / "garipov2018_table1_flowers.csv")
    assert table[["method", "members", "runs"]].values.tolist() == [["Ind", 1, 3], ["FGE", 2, 3]]
    monkeypatch.chdir(project.folder)
    _, mixture = _blocks("adding.md", "python")
    exec(compile(mixture, "adding.md", "exec"), {})
    assert capsys.readouterr().out == "0.0\n"


def test_networks_of_ones_own(
    flowers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(flowers)
    definition, saving, in_python = _blocks("own_networks.md", "python")
    Path("my_networks.py").write_text(definition)
    scope: dict[str, Any] = {}
    exec(compile(definition, "own_networks.md", "exec"), scope)
    for seed, name in enumerate(("mine", "yours")):
        torch.manual_seed(seed)
        network = scope["two_layers"](input_shape=(3, 32, 32), classes=2, hidden=128)
        exec(saving.replace("mine", name), {"network": network})
    commands = [line for line in _lines(DOCS / "own_networks.md") if "--recipe" not in line]
    assert [line.split()[3] for line in commands] == ["connect", "evaluate", "plane", "align"]
    for command in commands:
        assert main(shlex.split(command)[3:]) == 0
    for name in ("curves", "plane"):
        assert list(Path().glob(f"*/{name}.png"))
    capsys.readouterr()
    exec(compile(in_python, "own_networks.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "test_error_barrier" in printed and "Bezier" in printed


def test_networks_of_a_recipe(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = [line for line in _lines(DOCS / "own_networks.md") if "--recipe" in line]
    command = command.replace("digits_fully_connected", "perceptron")
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    assert main(shlex.split(command)[3:]) == 0
    table = pd.read_csv(project.folder / "connected" / "table.csv")
    assert table["curve"].tolist() == ["Single", "Segment", "Bezier"]
    grid = pd.read_csv(project.folder / "connected" / "segment" / "grid.csv")
    theirs = pd.read_csv(project.results / "curves" / "perceptron_bezier" / "grid.csv")
    for column in ("train_loss", "test_loss", "test_error"):
        ends = theirs[column].iloc[[0, -1]].tolist()
        assert grid[column].iloc[[0, -1]].tolist() == pytest.approx(ends, rel=1e-6)


def test_adding_a_statement(adding: Project) -> None:
    adding.make(cores=2)
    claims = pd.read_csv(adding.results / "claims.csv").set_index("claim")
    assert claims.loc["flowers_curve_is_flat", "verdict"] == "holds"
    assert claims.loc["flowers_curve_is_flat", "estimate"] == 0
    page = (adding.results / "report.html").read_text()
    assert "stays within five points of its worse end" in page


def test_adding_a_connection_of_two_files_of_weights(adding: Project) -> None:
    """No network is trained for it."""
    adding.make("gotmare2018_modes_elsewhere", "gotmare2018_figure3", cores=2)
    assert not (adding.results / "networks").exists()
    table = pd.read_csv(adding.results / "tables" / "gotmare2018_modes_elsewhere.csv")
    assert table["kind"].tolist() == ["segment", "curve", "curve"]
    assert set(table["label"]) == {"elsewhere"}
    assert table["epoch"].tolist()[1:] == [5, 10]
    mine, yours = (
        load_file(adding.folder / "weights" / f"{name}.safetensors").values()
        for name in ("mine", "yours")
    )
    squares = [(a.double() - b.double()).square().sum() for a, b in zip(mine, yours, strict=True)]
    distance = torch.stack(squares).sum().sqrt().item()
    assert table["distance"].tolist() == pytest.approx(3 * [distance])
    # The chain is trained, and what is trained is the cross-entropy along it.
    segment, _, chain = table["train_nll_mean"]
    assert chain < segment
    figure = pd.read_csv(adding.results / "figures" / "gotmare2018_figure3.csv")
    assert (figure["kind"] == "grid").sum() == 7 * 7
    assert not (figure["kind"] == "iterate").any()
