"""Permute a network of a user's own to match another."""

import argparse
from pathlib import Path

from mode_connectivity.commands.network_options import add_network_arguments, opened
from mode_connectivity.mistakes import validated
from mode_connectivity.training.recipes import AlignmentSettings

DESCRIPTION = """\
Permute the units of a network to match those of another one. As a function it stays the same; in
weight space it comes closer, and what lies between the two changes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    for name, text in (("first", "that stays"), ("second", "whose units are permuted")):
        parser.add_argument(
            name, type=Path, metavar=name.upper(), help=f"weights of the network {text}"
        )
    matching = parser.add_argument_group("matching")
    matching.add_argument(
        "--matching",
        choices=["activations", "weights"],
        default="activations",
        help="by what units are matched (default: %(default)s)",
    )
    matching.add_argument(
        "--examples",
        type=int,
        default=AlignmentSettings().examples,
        help="training examples on which activations are compared (default: %(default)s)",
    )
    matching.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the examples, or of the order in which weights are matched (default: %(default)s)",
    )
    add_network_arguments(parser, output="aligned")


def run(arguments: argparse.Namespace) -> int:
    """Align the networks and print how far they are from each other."""
    path = arguments.output / "weights.safetensors"
    with opened(arguments, "align") as networks:
        from mode_connectivity.own_networks.aligning import align_network

        keys = ("matching", "examples", "seed")
        given = {key: getattr(arguments, key) for key in keys}
        settings = validated(AlignmentSettings, given, "alignment")
        found = align_network(networks, arguments.first, arguments.second, settings, path)
    print(
        f"Distance in weight space: {found.before:.6g} before, {found.after:.6g} after. The "
        f"permuted network is {path}."
    )
    return 0
