"""Commands beside Snakemake's: ``python -m mode_connectivity COMMAND``."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from mode_connectivity.settings import UserError

COMMANDS = {
    "status": "show how far a run is: what is done, what runs, what is missing and what it costs",
    "report": "judge the papers' statements by what there is, and show it on one page",
    "connect": "connect two networks of your own: segment, curves, barriers, a picture",
    "evaluate": "measure networks of your own",
    "plane": "draw the plane through three networks of your own, or through a curve",
    "align": "permute the units of a network of your own to match another",
}
"""The modules of `mode_connectivity.commands`, and what they do."""


def main(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: the command line without the program.

    Returns:
        The exit status: 1 after a mistake of the user, which is told in one line. The wrong use of
        an option ends the program with 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mode_connectivity",
        description="Tools beside the pipeline, which snakemake runs.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="", required=True)
    called = None
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in arguments[:1]:
            called = import_module(f"mode_connectivity.commands.{name}")
            command.description = called.DESCRIPTION
            called.add_arguments(command)
    given = parser.parse_args(arguments)
    assert called is not None
    try:
        status: int = called.run(given)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain when it flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
