"""The options by which commands are given a config, as Snakemake is given one."""

import argparse
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mode_connectivity.config import USER_FILE, Config, load_config
from mode_connectivity.settings import UserError
from mode_connectivity.yaml_files import read_yaml

KEY = re.compile(r"[a-zA-Z_][\w-]*\w")
CHECKOUT = Path(__file__).parents[3]
"""That of this library, unless it was installed without one."""


def add_artefacts_argument(parser: argparse.ArgumentParser) -> None:
    """Let a command be given the artefacts that it is about."""
    parser.add_argument(
        "artefacts",
        nargs="*",
        metavar="ARTEFACT",
        help="artefacts, rows of them or papers, such as garipov2018_table2 (default: those that "
        "config.yaml selects)",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of Snakemake that say which config is meant."""
    options = parser.add_argument_group("config, as for snakemake")
    options.add_argument(
        "--configfile",
        "--configfiles",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="merged over config.yaml, one after the other; without this option, config.yaml of "
        "the working directory",
    )
    options.add_argument(
        "--config",
        "-C",
        nargs="*",
        metavar="KEY=VALUE",
        help="merged over all of them, such as scale=paper; artefacts stand before this option",
    )
    options.add_argument(
        "--directory", "-d", type=Path, metavar="DIR", help="working directory (default: this one)"
    )


def read_config(arguments: argparse.Namespace) -> Config:
    """Read the config that a command line means, and change to its working directory.

    Snakemake merges the files and values of its options over config.yaml beside the Snakefile, and
    so does this.

    Raises:
        UserError: a file or the folder is missing, or the config has mistakes.
    """
    files = config_files(arguments)
    if arguments.directory is not None:
        try:
            os.chdir(arguments.directory)
        except OSError as error:
            raise UserError(f"--directory {arguments.directory}: {error.strerror}") from error
    user: dict[str, Any] = {}
    for path in files:
        update(user, _read(path))
    update(user, parse_config(arguments.config or ()))
    return load_config(user, files[0].parent)


def config_files(arguments: argparse.Namespace) -> list[Path]:
    """Return the files that a command line merges, that of the project first; none is opened.

    Paths are absolute, and found from the folder in which the command was given: to be called
    before `read_config` changes it.

    Raises:
        UserError: there is no project.
    """
    files = [find_project() / USER_FILE]
    own = Path.cwd() / (arguments.directory or "") / USER_FILE
    if arguments.configfile:
        files += [path.absolute() for path in arguments.configfile]
    elif own.is_file() and not own.samefile(files[0]):
        files.append(own)
    return files


def find_project() -> Path:
    """Return the folder with Snakefile, config.yaml and config/: this one, or the library's own.

    Raises:
        UserError: neither is one.
    """
    for folder in (Path.cwd(), CHECKOUT):
        if all((folder / name).exists() for name in ("Snakefile", USER_FILE, "config")):
            return folder
    raise UserError(
        f"{Path.cwd()} is no checkout of the project, which has Snakefile, {USER_FILE} and "
        "config/; change to one and run the same command again"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def parse_config(entries: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` as Snakemake does.

    A value is an integer, a number, True or False, else YAML in which every scalar is a text.

    Raises:
        UserError: an entry has another form.
    """
    config: dict[str, Any] = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        if not equals or KEY.fullmatch(key) is None:
            raise UserError(
                f"--config: {entry!r} is no KEY=VALUE, such as scale=paper; artefacts stand before "
                "--config"
            )
        update(config, {key: _value(text.strip("'\""))})
    return config


def _value(text: str) -> Any:
    if text == "":
        return None
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    if text in ("True", "False"):
        return text == "True"
    try:
        value = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        return text
    return text if value is None else value


def update(config: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Merge a config over another one in place, as Snakemake does: mappings key by key."""
    for key, value in over.items():
        if isinstance(value, Mapping):
            there = config.get(key)
            config[key] = there = there if isinstance(there, dict) else {}
            update(there, value)
        else:
            config[key] = value
