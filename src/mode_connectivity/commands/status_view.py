"""A status as tables on a terminal, or as plain lines."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mode_connectivity.cost import duration, evaluations_in_words, time_in_words
from mode_connectivity.status import ArtefactStatus, JobStatus, Status, Work

LIMITS = (20, 14, 10, 7, 5, 4, 3, 2, 1)
"""Rows of a list that are shown, as far as they fit."""
UNLIMITED = 1_000_000
WIDE = 10_000
"""Columns where nobody says how many there are: no line is broken."""


class StatusView:
    """Shows a status.

    Args:
        everything: show long lists whole.
    """

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything
        self._console = Console(highlight=False, emoji=False, markup=False)
        if not self.on_terminal and "COLUMNS" not in os.environ:
            self._console.width = WIDE

    @property
    def on_terminal(self) -> bool:
        """Whether the view can stay in its place."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def print(self, status: Status) -> None:
        """Print a status, without the blanks with which tables fill their last column."""
        with self._console.capture() as captured:
            self._console.print(_tables(status, UNLIMITED if self._everything else LIMITS[0]))
        for line in captured.get().splitlines():
            print(line.rstrip(), flush=True)

    @contextmanager
    def printing(self) -> Iterator[Callable[[Status], None]]:
        """Yield what prints one status below the other."""
        yield self.print

    @contextmanager
    def staying(self) -> Iterator[Callable[[Status], None]]:
        """Yield what shows one status in the place of the other."""
        with Live(console=self._console, auto_refresh=False) as live:
            yield lambda status: live.update(self._fitting(status), refresh=True)

    def _fitting(self, status: Status) -> RenderableType:
        """Return as much of a status as the terminal is high."""
        if self._everything:
            return _tables(status, UNLIMITED)
        tables = _tables(status, LIMITS[0])
        for limit in LIMITS[1:]:
            if len(self._console.render_lines(tables)) < self._console.height:
                break
            tables = _tables(status, limit)
        return tables


def _tables(status: Status, limit: int) -> RenderableType:
    parts: list[RenderableType] = [_heading(status)]
    if status.running:
        parts.append(_running(status.running, limit))
    if status.failed:
        parts.append(_failed(status, limit))
    if status.stopped:
        parts.append(_stopped(status.stopped, limit))
    missing = [artefact for artefact in status.artefacts if not artefact.done]
    if missing:
        parts += [_missing(missing, limit), _to_do(status, limit)]
    if done := [artefact.name for artefact in status.artefacts if artefact.done]:
        parts.append(Text.assemble(("Done", "bold green"), f"  {_some(done, limit)}"))
    if status.strangers:
        parts.append(Text(f"Not in the config  {_some(status.strangers, limit)}", style="dim"))
    return Group(*(part for each in parts for part in (each, Text())))


def _heading(status: Status) -> Text:
    done = sum(artefact.done for artefact in status.artefacts)
    counts = [
        f"{done} of {len(status.artefacts)} artefacts",
        f"{status.jobs.get('done', 0):,} of {sum(status.jobs.values()):,} jobs done",
    ]
    for jobs, word in (
        (status.running, "running"),
        (status.failed, "failed"),
        (status.stopped, "stopped half-way"),
    ):
        if jobs:
            counts.append(f"{len(jobs):,} {word}")
    heading = Text.assemble((status.results, "bold"), f"  {', '.join(counts)}")
    # Somebody who looks for results that are not there may mean others.
    if status.other_scales and not status.jobs.get("done"):
        others = " and ".join(status.other_scales)
        heading.append(f"\nThere are results of scale {others}, too: --config scale=", "dim")
        heading.append(status.other_scales[0], "dim")
    return heading


def _table(*columns: str, right: Sequence[str] = (), whole: bool = False) -> Table:
    """Return a table without rows.

    Args:
        columns: their headings.
        right: those that are flush right.
        whole: break no name in the first column where there is room for it.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    if whole:
        table.columns[0].no_wrap, table.columns[0].overflow = True, "ellipsis"
    return table


def _rows(table: Table, rows: Iterable[tuple[str | Text, ...]], limit: int) -> Table:
    """Fill a table with its first rows, and say how many more there are."""
    every = list(rows)
    # A last row that says "1 more" takes as much room as that one.
    shown = every if len(every) <= limit + 1 else every[:limit]
    for row in shown:
        table.add_row(*row)
    if len(shown) < len(every):
        table.add_row(Text(f"and {len(every) - len(shown):,} more", style="dim"))
    return table


def _some(names: Sequence[str], limit: int) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _job(job: JobStatus) -> str:
    return f"{job.rule} {job.name}".strip()


def _running(jobs: Sequence[JobStatus], limit: int) -> Table:
    columns = ("Running", "at", "loss", "error", "images/s", "left")
    table = _table(*columns, right=("loss", "images/s", "left"))
    rows = []
    for job in jobs:
        said = job.said
        assert said is not None
        progress, measured, left = said.progress, said.measured, said.seconds_left
        where = "at work" if progress is None else progress.where
        part = "test" if "test_nll" in measured and "train_nll" not in measured else "train"
        loss = measured.get(f"{part}_nll")
        speed = said.images_per_second
        rows.append(
            (
                Text.assemble(
                    _job(job), ("" if job.state == "running" else " (probably)", "yellow")
                ),
                where,
                "" if loss is None else f"{loss:.4f}",
                _error(measured),
                "" if speed is None else f"{speed:,.0f}",
                "" if left is None else duration(left),
            )
        )
    return _rows(table, rows, limit)


def _error(measured: Mapping[str, float]) -> str:
    for part in ("test", "train"):
        if (error := measured.get(f"{part}_error")) is not None:
            return f"{error:.2f} % {part}"
        if (error := measured.get(f"{part}_rmse")) is not None:
            return f"{error:.4f} {part}"
    return ""


def _failed(status: Status, limit: int) -> Table:
    table = _table("Failed", f"its log, below {status.results}/logs, ends with")
    rows = []
    for job in status.failed:
        end = None if job.said is None else job.said.end
        text = "" if end is None else end[1].splitlines()[0]
        rows.append((Text(_job(job), style="red"), text))
    return _rows(table, rows, limit)


def _stopped(jobs: Sequence[JobStatus], limit: int) -> Table:
    table = _table("Stopped half-way", "how", "goes on")
    rows = []
    for job in jobs:
        end = None if job.said is None else job.said.end
        how = job.state if end is None else re.split("; | after ", end[1])[0]
        goes_on = f"after {job.resumes_after}" if job.resumes_after else "from the beginning"
        rows.append((Text(_job(job), style="yellow"), how, goes_on))
    return _rows(table, rows, limit)


def _missing(artefacts: Sequence[ArtefactStatus], limit: int) -> Table:
    columns = ("Missing", "jobs", "evaluations", "time", "needs")
    table = _table(*columns, right=columns[1:3], whole=True)
    rows = (
        (artefact.name, *_work(artefact.work), _needs(artefact, limit)) for artefact in artefacts
    )
    return _rows(table, rows, limit)


def _needs(artefact: ArtefactStatus, limit: int) -> str:
    needs = [f"{count:,} {rule}" for rule, count in artefact.needs.items()]
    return _some(needs, min(limit, 3) if limit < UNLIMITED else limit)


def _to_do(status: Status, limit: int) -> Table:
    columns = ("Still to do", "jobs", "evaluations", "time")
    table = _table(*columns, right=columns[1:3], whole=True)
    rules = sorted(status.missing.items(), key=lambda each: each[1].cost.evaluations, reverse=True)
    _rows(table, ((rule, *_work(work)) for rule, work in rules), limit)
    table.add_row("together, one at a time", *_work(status.work), style="bold")
    return table


def _work(work: Work) -> tuple[str, str, str]:
    """Return how many jobs there are, their evaluations and their time."""
    jobs = f"{work.jobs:,}"
    if not work.cost.jobs:
        return jobs, "", ""
    return jobs, evaluations_in_words(work.cost), time_in_words(work.cost)
