"""The options by which commands are given networks of a user's own, and their data."""

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mode_connectivity.commands.config_options import add_config_arguments, read_config
from mode_connectivity.config import ENDPOINT_ONLY, Config, merge
from mode_connectivity.data.settings import AnyDataset, DatasetSettings, TextSettings
from mode_connectivity.job import running_job
from mode_connectivity.mistakes import validated
from mode_connectivity.own_networks.settings import CURVE_TRAINING, OWN
from mode_connectivity.settings import UserError, nearest
from mode_connectivity.training.recipes import NetworkSettings, RecipeSettings
from mode_connectivity.training.settings import TrainingSettings

if TYPE_CHECKING:
    from mode_connectivity.own_networks.opening import OwnNetworks

TITLES = {"digits": "Digits", "mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
"""Data sets that are known by name."""
TRAINING_KEYS = {
    "epochs": "epochs",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "weight_decay": "optimiser.weight_decay",
    "augment": "augmentation.transforms",
}
"""Options, and the keys of a training that they set."""


def add_network_arguments(parser: argparse.ArgumentParser, *, output: str) -> None:
    """Add the options that say what the networks are, what they are measured on, and where.

    Args:
        parser: the command's.
        output: the folder that it writes where nothing is said.
    """
    networks = parser.add_argument_group("networks and data")
    networks.add_argument(
        "--network",
        metavar="NAME",
        help="package.module:function, path/to/file.py:function, or a name such as vgg16",
    )
    networks.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the network; may be repeated",
    )
    networks.add_argument(
        "--data",
        metavar="DATA",
        help="a folder with train/CLASS/IMAGE and test/CLASS/IMAGE, or with train.txt, valid.txt "
        f"and test.txt; or {', '.join(TITLES)}; or a data set that was prepared before "
        "(dataset.safetensors)",
    )
    networks.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="where mnist, cifar10 and cifar100 are, in torchvision's layout (default: data)",
    )
    networks.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="images are resized to it"
    )
    networks.add_argument(
        "--normalisation",
        choices=["data", "unit", "vgg", "resnet", "mnist"],
        help="of pixels; it must be that of the networks' training (default: data, by mean and "
        "standard deviation of the training images)",
    )
    networks.add_argument(
        "--weight-decay",
        type=float,
        metavar="L2",
        help="losses contain half of it times the squared norm (default: 0.0005)",
    )
    networks.add_argument(
        "--augment",
        nargs="*",
        choices=["flip", "crop"],
        help="what the training does to images, for the batch-norm statistics, too (default: "
        "nothing)",
    )
    networks.add_argument(
        "--recipe",
        metavar="NAME",
        help="in place of network and data, a recipe of the config, which says both and how curves "
        "are trained",
    )
    running = parser.add_argument_group("where")
    running.add_argument(
        "--output",
        type=Path,
        default=Path(output),
        metavar="DIR",
        help="folder of all that is written (default: %(default)s)",
    )
    running.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: %(default)s"
    )
    running.add_argument(
        "--threads", type=int, metavar="N", help="of the CPU (default: one a core)"
    )
    add_config_arguments(parser)


@contextmanager
def opened(arguments: argparse.Namespace, command: str) -> Iterator["OwnNetworks"]:
    """Yield the networks that a command line means, inside a log, and record the run afterwards.

    Raises:
        UserError: the command line does not say which networks or data are meant.
        SystemExit: with status 1 after an error of the work, which the log and standard error tell.
    """
    recipe, dataset, data_root, config = _read(arguments)
    folder: Path = arguments.output
    threads = arguments.threads or len(os.sched_getaffinity(0))
    with running_job(folder / "log.txt", command, threads=threads, ends_with_parent=False) as job:
        # Not before the threads are set.
        from mode_connectivity.device import describe_device, select_device
        from mode_connectivity.own_networks.opening import open_networks

        device = select_device(arguments.device)
        networks = open_networks(
            recipe,
            dataset,
            device,
            folder=folder,
            data_root=data_root,
            download=config is not None and config.download,
            evaluation=None if config is None else config.evaluation,
        )
        yield networks
        job.record(
            folder / "run.json",
            command=command,
            arguments=json.loads(json.dumps(vars(arguments), default=str)),
            device=describe_device(device),
            threads=threads,
        )


def _read(
    arguments: argparse.Namespace,
) -> tuple[RecipeSettings, AnyDataset | Path, Path, Config | None]:
    """Return the recipe, the data set, where its files are, and the config if there is one."""
    if arguments.recipe is not None:
        taken = [
            _option(name)
            for name in ("network", "option", "data", "data_root", "image_size", "normalisation")
            if getattr(arguments, name)
        ]
        if taken:
            raise UserError(
                f"--recipe {arguments.recipe} says what {taken[0]} says; give one of the two"
            )
        config = read_config(arguments)
        if arguments.recipe not in config.recipes:
            raise UserError(
                f"--recipe: {arguments.recipe!r} is no recipe of the config; recipes: "
                f"{', '.join(sorted(config.recipes))}{nearest(arguments.recipe, config.recipes)}"
            )
        recipe = config.recipes[arguments.recipe]
        training = recipe.training.model_dump(mode="json", exclude=set(ENDPOINT_ONLY))
        return (
            _recipe(recipe.dataset, recipe.network, recipe.title, training, arguments),
            config.datasets[recipe.dataset],
            Path(config.data),
            config,
        )
    if needless := [
        _option(name) for name in ("configfile", "config", "directory") if getattr(arguments, name)
    ]:
        raise UserError(f"{needless[0]} goes with --recipe, which is missing")
    if missing := [_option(name) for name in ("network", "data") if not getattr(arguments, name)]:
        raise UserError(
            f"{' and '.join(missing)} missing: say which network the weights are of and on which "
            "data they are measured, or name a --recipe of the config, which says both"
        )
    network = validated(
        NetworkSettings, {"name": arguments.network, **_network_options(arguments)}, "--network"
    )
    dataset, root = _dataset(arguments)
    return (
        _recipe(OWN, network, "", CURVE_TRAINING.model_dump(mode="json"), arguments),
        dataset,
        root,
        None,
    )


def _recipe(
    dataset: str,
    network: NetworkSettings,
    title: str,
    training: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> RecipeSettings:
    """Return a recipe whose training is a given one as the options change it."""
    given = {key: getattr(arguments, name, None) for name, key in TRAINING_KEYS.items()}
    for key, value in given.items():
        if value is not None:
            *outer, inner = key.split(".")
            over: dict[str, Any] = {inner: value}
            for name in reversed(outer):
                over = {name: over}
            training = merge(training, over)
    options = {key: _option(name) for name, key in TRAINING_KEYS.items()}
    return RecipeSettings(
        dataset=dataset,
        network=network,
        title=title,
        training=validated(TrainingSettings, training, "training", options),
    )


def _network_options(arguments: argparse.Namespace) -> dict[str, Any]:
    options = {}
    for text in arguments.option:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UserError(f"--option: {text!r} is no KEY=VALUE, such as depth=20")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            options[key] = value
    return options


def _dataset(arguments: argparse.Namespace) -> tuple[AnyDataset | Path, Path]:
    """Return the data set that is meant, and the folder in which its files are looked for."""
    text = arguments.data
    images = {
        key: value
        for key in ("image_size", "normalisation")
        if (value := getattr(arguments, key)) is not None
    }
    path = Path(text)
    root = arguments.data_root or Path("data")
    if text in TITLES:
        known = {"title": TITLES[text], "source": text, **images}
        return validated(DatasetSettings, known, "--data"), root
    if not path.exists():
        raise UserError(
            f"--data: there is no folder or file {path}; name one, or one of {', '.join(TITLES)}"
            f"{nearest(text, TITLES)}"
        )
    is_text = (path / "train.txt").is_file()
    if images and (path.is_file() or is_text):
        raise UserError(
            f"{_option(next(iter(images)))}: {path} is "
            f"{'a text' if is_text else 'prepared already'}; leave it out"
        )
    if path.is_file():
        return path, root
    place = path.resolve()
    if is_text:
        text_files = TextSettings(title=place.name, source="text_files", folder=place.name)
        return text_files, place.parent
    known = {"title": place.name, "source": "image_folder", "folder": place.name, **images}
    return validated(DatasetSettings, known, "--data"), place.parent


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
