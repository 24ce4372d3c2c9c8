"""Measure every ratio and print them as one table.

A ratio compares two things that ran in turn in one process, so that a machine whose speed drifts
does not matter; each is the median over the turns. Names on the command line choose some of them.
"""

import argparse
import sys

import pandas as pd
import torch

from benchmarks import (
    alignment,
    checkpoints,
    data,
    demo,
    ensembles,
    evaluation,
    language_models,
    memory,
    report,
    simplexes,
    status,
    swag,
    training,
)

MEASUREMENTS = {
    "training": training.measure,
    "simplexes": simplexes.measure,
    "swag": swag.measure,
    "evaluation": evaluation.measure,
    "alignment": alignment.measure,
    "language_models": language_models.measure,
    "ensembles": ensembles.measure,
    "data": data.measure,
    "memory": memory.measure,
    "checkpoints": checkpoints.measure,
    "status": status.measure,
    "demo": demo.measure,
    "report": report.measure,
}


def main() -> None:
    """Run the chosen measurements and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    unknown = set(arguments.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; one of {', '.join(MEASUREMENTS)}")
    rows = []
    for name, measure in MEASUREMENTS.items():
        if not arguments.names or name in arguments.names:
            print(f"measuring {name} ...", file=sys.stderr)
            rows += measure()
    table = pd.DataFrame(rows)
    table["holds"] = ["yes" if row["value"] <= row["bound"] else "NO" for row in rows]
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    print(table.to_markdown(index=False, floatfmt=".3f"))


if __name__ == "__main__":
    main()
