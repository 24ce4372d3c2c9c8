"""What has become of a job, by its log. Nothing here imports torch."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from mode_connectivity.job_log import (
    DEVICE,
    LINE,
    RESUMED,
    SECONDS_BETWEEN_LINES,
    Begin,
    How,
    Progress,
    how_it_ended,
    is_held,
    this_host,
)

HEAD, TAIL = 2048, 4096
"""Bytes of a log that are read: its first lines, and its last ones."""
PATIENCE = 4
"""Pauses between lines after which a job that no lock tells of is taken to be dead."""

JobState = Literal[
    "running",
    "probably running",
    "done",
    "stopped",
    "failed",
    "killed",
    "probably killed",
    "unknown",
]


@dataclass(frozen=True)
class JobLog:
    """What a log says.

    Attributes:
        lines: its first and its last ones, each with the text of its time; what has no time of
            its own, as a traceback, stands behind a line break in the line that it belongs to.
        held: whether a job holds the lock; nothing where that is not known.
        age: seconds since something was written.
        cut: how many of the lines stand before those that were left out.
    """

    lines: Sequence[tuple[str, str]]
    held: bool | None
    age: float
    cut: int = 0

    @property
    def begin(self) -> Begin | None:
        """Its first line, if it is the log of a job that says who it is."""
        return Begin.parse(self.lines[0][1])

    @property
    def device(self) -> str | None:
        """The device that the job runs on, if it has said so."""
        found = (DEVICE.fullmatch(text) for _, text in self.lines)
        return next((match[1] for match in found if match is not None), None)

    @property
    def end(self) -> tuple[How, str] | None:
        """How the job ended and what it said of it, if it did say something."""
        text = self.lines[-1][1]
        how = how_it_ended(text)
        return None if how is None else (how, text)

    @property
    def state(self) -> JobState:
        """What has become of the job.

        A lock that is free tells it on the machine of the job. Elsewhere the age of the last line
        is compared with the pauses between the lines before. A log that does not begin as ours do
        need not say how its job ended.
        """
        if self.held:
            return "running"
        if self.end is not None:
            return self.end[0]
        begin = self.begin
        if begin is not None and begin.host == this_host():
            if begin.locked and self.held is not None:
                return "killed"
            return "probably running" if _lives(begin.process) else "probably killed"
        times = [_seconds(stamp) for stamp, _ in self.lines[self.cut :]]
        longest = max((later - before for before, later in pairwise(times)), default=0.0)
        if self.age < PATIENCE * max(SECONDS_BETWEEN_LINES, longest):
            return "probably running"
        return "unknown" if begin is None else "probably killed"

    @cached_property
    def _progress(self) -> list[tuple[str, Progress]]:
        found = [(stamp, Progress.parse(text)) for stamp, text in self.lines]
        return [(stamp, progress) for stamp, progress in found if progress is not None]

    @property
    def progress(self) -> Progress | None:
        """How far the job is, by its last line that says so."""
        return self._progress[-1][1] if self._progress else None

    @property
    def measured(self) -> Mapping[str, float]:
        """Loss and error, by the last line that has some."""
        found = (progress.measured for _, progress in reversed(self._progress))
        return next(filter(None, found), {})

    @property
    def images_per_second(self) -> float | None:
        """By the last line that has it."""
        found = (progress.images_per_second for _, progress in reversed(self._progress))
        return next((speed for speed in found if speed is not None), None)

    @property
    def seconds_left(self) -> float | None:
        """About how long the work that is counted still takes, where that can be told.

        By the pace since the first line of that work or, where there is only one, since the job
        resumed or began.
        """
        if not self._progress:
            return None
        now, last = self._progress[-1]
        unit = last.counts[0].unit
        places = [(at, each.share) for at, each in self._progress if each.counts[0].unit == unit]
        for at, text in self.lines:
            if resumed := RESUMED.fullmatch(text):
                places.append((at, int(resumed[2]) / int(resumed[3])))
        for at, share in [*places, (self.lines[0][0], 0.0)]:
            seconds = _seconds(now) - _seconds(at)
            if share < last.share and seconds > 0:
                pace = seconds / (last.share - share)
                return max(pace * (1 - last.share) - self.age, 0.0)
        return None


def may_run(path: Path) -> bool:
    """Tell, faster than by reading it, whether a log may be that of a running job."""
    try:
        with path.open("rb") as file:
            written = os.fstat(file.fileno()).st_mtime_ns
            return is_held(file) is True or _age(written) < PATIENCE * SECONDS_BETWEEN_LINES
    except OSError:
        return False


def _age(written: int) -> float:
    return max((time.time_ns() - written) / 1e9, 0.0)


def read_log(path: Path) -> JobLog | None:
    """Read the first and the last lines of a log; nothing where there is none or it is empty.

    It may be written to at the same time: a line that is not whole yet is left out.
    """
    try:
        with path.open("rb") as file:
            held = is_held(file)
            facts = os.fstat(file.fileno())
            head = file.read(HEAD)
            start = max(len(head), facts.st_size - TAIL)
            file.seek(start)
            tail = file.read()
    except OSError:
        return None
    # What lies between them is left out, with the line in whose midst the tail begins.
    first, last = ([], head + tail) if start == len(head) else (_lines(head), tail)
    lines = [*first, *_lines(last)]
    return JobLog(lines, held, _age(facts.st_mtime_ns), len(first)) if lines else None


def _lines(content: bytes) -> list[tuple[str, str]]:
    """Return the whole lines of a part of a log."""
    lines: list[tuple[str, str]] = []
    whole = content.decode("utf-8", errors="replace").rpartition("\n")[0]
    for line in whole.splitlines():
        match = LINE.fullmatch(line)
        if match is not None:
            lines.append((match["stamp"], match["text"]))
        elif lines:
            stamp, text = lines[-1]
            lines[-1] = stamp, f"{text}\n{line}"
    return lines


def _seconds(stamp: str) -> float:
    """Return a time as seconds, to be compared with others."""
    year, month, day, hour, minute, second = map(int, re.split("[- :]", stamp))
    try:
        return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
    except OverflowError:
        return 0.0


def _lives(process: int) -> bool:
    """Tell whether there is a process of that number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # Somebody else's.
        return True
    return True
