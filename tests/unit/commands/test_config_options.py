import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_configs import write_scale

from mode_connectivity.commands import config_options
from mode_connectivity.commands.config_options import (
    add_config_arguments,
    config_files,
    find_project,
    parse_config,
    read_config,
    update,
)
from mode_connectivity.config import Config
from mode_connectivity.settings import UserError

SCALE = """
datasets:
  digits: {title: Digits, source: digits}
recipes:
  plain:
    dataset: digits
    network: {name: fully_connected}
    training: {epochs: 5, batch_size: 32, learning_rate: 0.05}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of another config, in which commands are called."""
    folder = write_scale(tmp_path / "project", SCALE)
    (folder / "Snakefile").touch()
    (folder / "config.yaml").write_text("threads: 2\nresults: here\n")
    monkeypatch.chdir(folder)
    return folder


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("artefacts", nargs="*")
    add_config_arguments(parser)
    return parser.parse_args(arguments)


def read(*arguments: str) -> Config:
    return read_config(parsed(*arguments))


def test_files_are_found_from_where_the_command_is_given(project) -> None:
    own = project / "elsewhere" / "config.yaml"
    own.parent.mkdir()
    own.touch()
    first = project / "config.yaml"
    assert config_files(parsed()) == [first]
    assert config_files(parsed("--directory", "elsewhere")) == [first, own]
    given = parsed("--directory", "elsewhere", "--configfile", "mine.yaml")
    assert config_files(given) == [first, project / "mine.yaml"]


def test_config_yaml_of_the_checkout(project) -> None:
    config = read()
    assert (config.threads, config.results, config.scale) == (2, "here", "demo")
    assert [*config.recipes] == ["plain"]


def test_files_are_merged_over_it_in_their_order(project) -> None:
    (project / "first.yaml").write_text("threads: 3\nrecipes: {plain: {training: {epochs: 7}}}\n")
    (project / "second.json").write_text('{"threads": 4}')
    config = read("--configfile", "first.yaml", "second.json")
    assert (config.threads, config.results) == (4, "here")
    training = config.recipes["plain"].training
    assert (training.epochs, training.batch_size) == (7, 32)


def test_values_come_last(project) -> None:
    (project / "first.yaml").write_text("threads: 3\n")
    config = read("--config", "threads=5", "results=there", "--configfile", "first.yaml")
    assert (config.threads, config.results) == (5, "there")
    (project / "first.yaml").write_text("datasets: {own: {title: A, source: two_spirals}}\n")
    own = "datasets={'own': {'title': 'B'}}"
    config = read("--config", own, "--configfile", "first.yaml")
    assert (config.datasets["own"].title, config.datasets["own"].source) == ("B", "two_spirals")


def test_a_config_in_the_working_directory(project, tmp_path, monkeypatch) -> None:
    """As given to Snakemake by --configfile; the checkout is that of the library then."""
    monkeypatch.setattr(config_options, "CHECKOUT", project)
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.yaml").write_text("threads: 7\n")
    config = read("--directory", str(own))
    assert (config.threads, config.results) == (7, "here")
    assert Path.cwd() == own
    # It counts no more where others are named.
    (own / "other.yaml").write_text("device: cpu\n")
    config = read("--configfile", "other.yaml")
    assert (config.threads, config.device) == (2, "cpu")


def test_paths_of_files_are_from_where_the_command_is_called(project, tmp_path) -> None:
    (project / "first.yaml").write_text("threads: 3\n")
    (tmp_path / "elsewhere").mkdir()
    assert read("--directory", "../elsewhere", "--configfile", "first.yaml").threads == 3
    assert Path.cwd() == tmp_path / "elsewhere"


def test_the_checkout_in_which_it_is_called_comes_first(project, tmp_path, monkeypatch) -> None:
    assert find_project() == project
    monkeypatch.chdir(tmp_path)
    assert find_project() == Path(__file__).parents[3]
    monkeypatch.setattr(config_options, "CHECKOUT", tmp_path)
    with pytest.raises(UserError, match="is no checkout of the project"):
        find_project()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--configfile", "none.yaml"], r"none\.yaml: No such file or directory"),
        (["--configfile", "bad.yaml"], r"bad\.yaml: line 2: not valid YAML"),
        (["--configfile", "twice.yaml"], r"twice\.yaml: line 2: the key 'threads' is given twice"),
        (["--directory", "none"], "--directory none: No such file or directory"),
        (["--config", "scale"], "'scale' is no KEY=VALUE, such as scale=paper"),
        (["--config", "1x=2"], "'1x=2' is no KEY=VALUE"),
        (["--config", "scale=papre"], "did you mean 'paper'?"),
        (["--config", "thread=2"], "did you mean 'threads'?"),
    ],
)
def test_mistakes(project, arguments, message) -> None:
    (project / "bad.yaml").write_text("threads: 2\n  device: cpu\n")
    (project / "twice.yaml").write_text("threads: 2\nthreads: 3\n")
    with pytest.raises(UserError, match=message):
        read(*arguments)


ENTRIES = [
    *("scale=paper", "threads=2", "threads=2.0", "x1=1e-3", "download=True", "download=False"),
    *("download=true", "empty=", "quoted='a b'", 'quoted="2"', "select=[a, b]", "select=['a', 2]"),
    *("resources={most_minutes: 3}", "resources={'most_minutes': 3, 'a': {'b': None}}"),
    *("text=a=b", "text=a: b", "text=[a", "text={", "text=- a", "number=1_000", "nan_=nan"),
    *("data=/some/path", "container=~", "text=null", "text=2026-01-01", "text=#5"),
]


def test_values_are_read_as_snakemake_does() -> None:
    from snakemake.cli import parse_config as of_snakemake

    for entry in ENTRIES:
        # What it cannot read at all is a text.
        expected = of_snakemake([entry]) if entry != "text=#5" else {"text": "#5"}
        found = parse_config([entry])
        assert json.dumps(found) == json.dumps(expected), entry
    many = ["a1={b: {c: 1}}", "a1={b: {d: 2}}", "e1=3", "e1={f: 4}"]
    assert parse_config(many) == of_snakemake(many)


def test_configs_are_merged_as_snakemake_does() -> None:
    from snakemake.utils import update_config

    texts = ["{a: {b: 1, c: [1]}, d: 2}", "{a: {c: [2], e: {f: 1}}, d: {g: 1}}", "{a: 1}", "{a: }"]
    mine: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for text in texts:
        update(mine, yaml.safe_load(text))
        update_config(theirs, yaml.safe_load(text))
        assert mine == theirs


def test_the_config_of_this_checkout(monkeypatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    assert read("--config", "scale=paper").scale == "paper"
