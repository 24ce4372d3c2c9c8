"""Measure networks of a user's own."""

import argparse
from pathlib import Path

from mode_connectivity.commands.network_options import add_network_arguments, opened

DESCRIPTION = """\
Measure networks that were trained anywhere: loss, cross-entropy and error on each part of a data
set, and the interval of the test error. Batch norm uses the statistics that are in the files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "weights", type=Path, nargs="+", metavar="WEIGHTS", help="state dicts, .safetensors"
    )
    add_network_arguments(parser, output="evaluated")


def run(arguments: argparse.Namespace) -> int:
    """Measure the networks and print what was found."""
    with opened(arguments, "evaluate") as networks:
        from mode_connectivity.files import write_frame
        from mode_connectivity.own_networks.opening import measure

        table = measure(networks, arguments.weights)
        write_frame(arguments.output / "metrics.csv", table)
    print(table.to_markdown(index=False, floatfmt=".5g"))
    print(f"\nThe same in full precision is in {arguments.output / 'metrics.csv'}.")
    return 0
