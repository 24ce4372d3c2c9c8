"""Draw the plane through networks of a user's own."""

import argparse
from pathlib import Path

from mode_connectivity.commands.network_options import add_network_arguments, opened

DESCRIPTION = """\
Measure and draw train loss and test error over the plane through three networks that were trained
anywhere, or through two of them and the bend of a curve that `connect` has trained."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    for name, text in (
        ("start", "weights at the origin"),
        ("end", "weights along the first axis"),
        ("third", "weights of a third network, or vertices.safetensors of a curve"),
    ):
        parser.add_argument(name, type=Path, metavar=name.upper(), help=text)
    lattice = parser.add_argument_group("lattice")
    lattice.add_argument("--points", type=int, default=21, help="a side (default: %(default)s)")
    lattice.add_argument(
        "--margin",
        type=float,
        default=0.2,
        help="around the triangle, as a share of its sides (default: %(default)s)",
    )
    add_network_arguments(parser, output="plane")


def run(arguments: argparse.Namespace) -> int:
    """Draw the plane."""
    with opened(arguments, "plane") as networks:
        from mode_connectivity.own_networks.planes import draw_plane

        draw_plane(
            networks,
            arguments.start,
            arguments.end,
            arguments.third,
            arguments.output,
            points=arguments.points,
            margin=arguments.margin,
        )
    print(f"grid.csv and plane.png are in {arguments.output}.")
    return 0
