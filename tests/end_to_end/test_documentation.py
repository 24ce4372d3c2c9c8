"""What the documentation says, done literally."""

import json
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
from pipeline import CHECKOUT, Project, copy_checkout, without_executor
from safetensors.torch import load_file, save_file

from mode_connectivity.__main__ import main
from mode_connectivity.config import merge
from mode_connectivity.reporting.artefacts import Results
from mode_connectivity.reporting.settings import FIGURE_PARTS

DOCS = CHECKOUT / "docs"


METHOD = "\n## A method\n"
"""The last section of adding.md, whose config needs the edits that it shows."""


def _blocks(page: str, language: str) -> list[str]:
    return _fenced((DOCS / page).read_text(), language)


def _fenced(text: str, language: str) -> list[str]:
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
    for source in _blocks("adding.md", "python"):
        if file := re.match(r"# (\w+\.py)\n", source):
            (tmp_path / file[1]).write_text(source)
    scope: dict[str, Any] = {}
    exec(compile((tmp_path / "my_networks.py").read_text(), "adding.md", "exec"), scope)
    (tmp_path / "weights").mkdir()
    for seed, name in enumerate(("mine", "yours")):
        torch.manual_seed(seed)
        network = scope["two_layers"](input_shape=(3, 32, 32), classes=2, hidden=128)
        save_file(network.state_dict(), tmp_path / "weights" / f"{name}.safetensors")
    config: dict[str, Any] = {}
    before, _, _ = (DOCS / "adding.md").read_text().partition(METHOD)
    for block in _fenced(before, "yaml"):
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
    (mixture,) = (code for code in _blocks("adding.md", "python") if "mixture" in code)
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
    (first,) = [line for line in _lines(CHECKOUT / "README.md") if " connect " in line]
    assert main([*shlex.split(first)[3:], "--output", "as_in_the_readme"]) == 0
    assert len(list(Path().glob("*/curves.png"))) == 2 and Path("plane/plane.png").exists()
    capsys.readouterr()
    exec(compile(in_python, "own_networks.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "test_error_barrier" in printed and "Bezier" in printed


def test_the_report_of_what_there_is(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = finished.copy(tmp_path / "project")
    (project.results / "report.html").unlink()
    monkeypatch.chdir(project.folder)
    command, _ = _commands("python -m mode_connectivity report")
    assert command == "python -m mode_connectivity report"
    assert main(shlex.split(command)[3:]) == 0
    assert (project.results / "report.html").exists()


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


def test_adding_a_figure(adding: Project) -> None:
    adding.make("flowers_flatness", cores=2)
    figures = adding.results / "figures"
    shown = pd.read_csv(figures / "flowers_flatness.csv")
    for kind in ("segment", "bezier"):
        grid = pd.read_csv(adding.results / "curves" / f"flowers_{kind}" / "grid.csv")
        worse = max(grid["test_error"].iloc[0], grid["test_error"].iloc[-1])
        own = shown[shown["curve"] == kind.capitalize()]
        assert own["t"].tolist() == pytest.approx(grid["t"].tolist())
        assert own["rise"].tolist() == pytest.approx((grid["test_error"] - worse).tolist())
    assert Image.open(figures / "flowers_flatness.png").format == "PNG"
    assert (figures / "flowers_flatness.pdf").read_bytes().startswith(b"%PDF")
    (panel,) = json.loads((figures / "flowers_flatness.json").read_text())["panels"]
    assert [series["label"] for series in panel["series"]] == ["Segment", "Bezier"]


def test_what_a_figure_can_ask_for_is_there() -> None:
    text = (DOCS / "adding.md").read_text()
    rows = re.findall(
        r"^\| `?([a-z ]+)`? \| (.*) \|$", text.partition("## A figure")[2], re.MULTILINE
    )
    assert [key for key, _ in rows] == ["of", "all of them", *FIGURE_PARTS]
    for key, cell in rows[1:]:
        asked = re.findall(r"`(\w+)\(name\)`", cell)
        assert asked, key
        assert all(callable(getattr(Results, name)) for name in asked)


@pytest.fixture
def method() -> str:
    _, _, text = (DOCS / "adding.md").read_text().partition(METHOD)
    return text


def spline_coefficients(t: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The natural cubic spline through three points: cubics in t, mirrored at t = 1/2."""

    def first_half(t: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        return np.stack([1 - 5 * t / 2 + 2 * t**3, 3 * t - 4 * t**3, -t / 2 + 2 * t**3], axis=1)

    return np.where(t[:, None] <= 0.5, first_half(t), first_half(1 - t)[:, ::-1])


def test_a_method_in_python(method: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    (family,) = _fenced(method, "python")
    example, *_ = _blocks("library.md", "python")
    (line,) = re.findall(r"^curve = Bezier\(.*\)\n", example, flags=re.MULTILINE)
    scope = {"project": CHECKOUT, "folder": tmp_path}
    exec(compile(example.replace(line, family), "adding.md", "exec"), scope)
    grid, curve = scope["grid"], scope["curve"]
    assert isinstance(grid, pd.DataFrame)
    coefficients = grid[[f"coefficient_{k}" for k in range(3)]].to_numpy()
    expected = spline_coefficients(grid["t"].to_numpy())
    np.testing.assert_allclose(coefficients, expected, atol=1e-12)
    points = expected @ curve.vertices.double().numpy()
    np.testing.assert_allclose(grid["norm"], np.linalg.norm(points, axis=1), rtol=1e-5)
    # The bend has left the segment, and the curve leads around the barrier.
    assert grid["test_error"].max() < 6


def test_a_method_as_a_kind_of_curve(method: str, adding: Project, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    (diff,) = _fenced(method, "diff")
    subprocess.run(["patch", "-p1"], cwd=checkout, input=diff, text=True, check=True)
    project = Project(adding.folder, checkout)
    (block,) = _fenced(method, "yaml")
    project.configure(yaml.safe_load(block))
    (command,) = re.findall(r"`snakemake --cores 2 (\S+)`", method)
    project.make(command, cores=2)
    figure = pd.read_csv(project.results / "figures" / "flowers_flatness.csv")
    assert figure["curve"].unique().tolist() == ["Segment", "Bezier", "Spline"]
    curve = project.results / "curves" / "flowers_spline"
    grid = pd.read_csv(curve / "grid.csv")
    expected = spline_coefficients(grid["t"].to_numpy())
    coefficients = grid[[f"coefficient_{k}" for k in range(3)]]
    np.testing.assert_allclose(coefficients, expected, atol=1e-12)
    vertices = load_file(curve / "vertices.safetensors").values()
    stacked = np.concatenate([v.double().numpy().reshape(3, -1) for v in vertices], axis=1)
    norms = np.linalg.norm(expected @ stacked, axis=1)
    np.testing.assert_allclose(grid["norm"], norms, rtol=1e-5)
    # The bend was trained: it has left the middle of the segment, if little where all is easy.
    assert np.linalg.norm(stacked[1] - (stacked[0] + stacked[2]) / 2) > 1e-4
