"""Show how far a run is."""

import argparse
import json
import math
import signal
import sys
import time

from mode_connectivity.commands.config_options import (
    add_artefacts_argument,
    add_config_arguments,
    read_config,
)
from mode_connectivity.status import as_data, survey

DESCRIPTION = """\
Show how far a run is: which trainings and measurements run, which artefacts are done, what the
others still need and what that will cost, what has failed and what has stopped half-way.

It reads the folder of the results and the logs in it, changes nothing, and may run beside
Snakemake, on the login node of a cluster too. On a terminal the view stays and is refreshed until
everything is done or Ctrl-C is pressed."""

SECONDS = 5.0
"""Between two looks, where nothing else is asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_artefacts_argument(parser)
    parser.add_argument("--once", action="store_true", help="print once and end")
    parser.add_argument(
        "--watch",
        type=_seconds,
        metavar="SECONDS",
        help=f"seconds between two looks (default: {SECONDS:g}); without a terminal, print again "
        "and again",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="show long lists whole; with --once, as a terminal cuts what is higher than itself",
    )
    parser.add_argument("--json", action="store_true", help="print data for scripts")
    add_config_arguments(parser)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"found {text}; it must be at least 0.1")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Print the status, once or again and again."""
    config = read_config(arguments)
    if arguments.json:
        while True:
            status = survey(config, arguments.artefacts)
            print(json.dumps(as_data(status), allow_nan=False), flush=True)
            if arguments.once or arguments.watch is None or status.all_done:
                return 0
            time.sleep(arguments.watch)
    # Only here: its import takes a fifth of the time that there is.
    from mode_connectivity.commands.status_view import StatusView

    view = StatusView(everything=arguments.all)
    live = view.on_terminal and not arguments.once
    if not live and arguments.watch is None:
        view.print(survey(config, arguments.artefacts))
        return 0
    # The view leaves the terminal as it was, also where somebody else ends it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with view.staying() if live else view.printing() as show:
            while True:
                status = survey(config, arguments.artefacts)
                show(status)
                if status.all_done or arguments.once:
                    return 0
                time.sleep(arguments.watch or SECONDS)
    except KeyboardInterrupt:
        return 0
