"""Connect two networks of a user's own."""

import argparse
from pathlib import Path

from mode_connectivity.commands.network_options import add_network_arguments, opened
from mode_connectivity.own_networks.settings import CURVE_TRAINING, KINDS, curves_between
from mode_connectivity.training.recipes import AlignmentSettings

DESCRIPTION = """\
Connect two networks that were trained anywhere: measure the line segment between their weights,
train curves between them along which the loss stays low, measure these, and write a table, the
barriers and a picture.

Weights are state dicts in safetensors files. What is done is not done again, and what was stopped
goes on, when the same command is given again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    for name, where in (("start", "t = 0"), ("end", "t = 1")):
        parser.add_argument(
            name, type=Path, metavar=name.upper(), help=f"weights of the network at {where}"
        )
    curves = parser.add_argument_group("curves")
    curves.add_argument(
        "--curves",
        nargs="*",
        choices=KINDS[1:],
        default=["bezier"],
        metavar="KIND",
        help=f"beside the segment, of {', '.join(KINDS[1:])} (default: bezier); an aligned one "
        "ends in the second network as its units are permuted to match those of the first",
    )
    curves.add_argument("--bends", type=int, default=1, help="default: %(default)s")
    curves.add_argument(
        "--points",
        type=int,
        default=61,
        help="equally spaced points at which a curve is measured (default: %(default)s)",
    )
    curves.add_argument(
        "--matching",
        choices=["activations", "weights"],
        default="activations",
        help="by what units are matched (default: %(default)s)",
    )
    curves.add_argument(
        "--no-renormalisation",
        action="store_true",
        help="leave the statistics of layers without batch norm as they are on an aligned segment",
    )
    training = parser.add_argument_group("training of the curves")
    default = CURVE_TRAINING
    for option, kind, value in (
        ("--epochs", int, default.epochs),
        ("--batch-size", int, default.batch_size),
        ("--learning-rate", float, default.learning_rate),
    ):
        training.add_argument(option, type=kind, help=f"default: {value}, or that of the recipe")
    training.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    add_network_arguments(parser, output="connected")


def run(arguments: argparse.Namespace) -> int:
    """Connect the networks and print the table."""
    with opened(arguments, "connect") as networks:
        from mode_connectivity.own_networks.connecting import connect

        curves = curves_between(
            arguments.start,
            arguments.end,
            arguments.curves,
            training=networks.recipe.training,
            bends=arguments.bends,
            points=arguments.points,
            seed=arguments.seed,
            alignment=AlignmentSettings(matching=arguments.matching),
            renormalise=not arguments.no_renormalisation,
        )
        connect(networks, curves, arguments.output)
    print((arguments.output / "table.md").read_text())
    print(f"The table, barriers.csv and curves.png are in {arguments.output}.")
    return 0
