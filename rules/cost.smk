"""What the planned jobs cost, told before the first of them starts. No rules here."""

import atexit

from snakemake.logging import logger

from mode_connectivity.cost import announcement

# Absolute, as Snakemake has changed back from --directory when Python exits.
COST_RESULTS = Path(CONFIG.results, CONFIG.scale).absolute()


def planned_cost(dry_run):
    return announcement(CONFIG, workflow, COST_RESULTS, dry_run=dry_run)


def announce_planned_cost():
    if text := planned_cost(dry_run=False):
        logger.info(f"{text}\n")


def print_planned_cost():
    if text := planned_cost(dry_run=True):
        print(f"\n{text}", flush=True)


# Snakemake calls onstart when the plan is made, but not in a dry run, for which it has no hook at
# all: there the plan is read when Python exits, with Snakemake's own messages already written.
atexit.register(print_planned_cost)
