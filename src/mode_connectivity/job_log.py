"""The lines of a job's log that say who runs it, how far it is and how it ended.

What writes a line stands here beside what reads it. A running job holds a lock on its log, which
the kernel frees however the job ends, so that whoever reads the log knows whether it lives. Every
job imports this, and nothing here imports torch.
"""

import errno
import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeVar

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0
"""Long work says at least so often how far it is."""

STAMP = "%Y-%m-%d %H:%M:%S"
LINE_FORMAT = "%(asctime)s  %(message)s"
LINE = re.compile(r"(?P<stamp>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  (?P<text>.*)")
"""What stands before every line, as logging writes it."""

_Item = TypeVar("_Item")


# How a job begins.

_BEGIN = re.compile(
    r"(?P<rule>\w+)(?: (?P<name>\S+))?, on (?P<host>\S+), process (?P<process>\d{1,9})"
    r"(?:, SLURM job (?P<slurm_job>\w+))?(?P<unlocked>, without a lock)?"
)
DEVICE = re.compile(r"device (.+)")


@dataclass(frozen=True)
class Begin:
    """The first line of a log.

    Attributes:
        rule: of the job.
        name: what it is about, such as ``vgg16/1``.
        host: the machine that it runs on.
        process: its number there.
        slurm_job: its number with SLURM, if it has one.
        locked: whether it holds the lock on its log; not every file system has locks.
    """

    rule: str
    name: str
    host: str
    process: int
    slurm_job: str | None = None
    locked: bool = True

    @classmethod
    def here(cls, rule: str, name: str, *, locked: bool) -> "Begin":
        """Return that of a job in this process."""
        slurm_job = os.environ.get("SLURM_JOB_ID")
        return cls(rule, name, this_host(), os.getpid(), slurm_job, locked)

    @classmethod
    def parse(cls, text: str) -> "Begin | None":
        """Read a line without its time; nothing where it is another one."""
        match = _BEGIN.fullmatch(text)
        if match is None:
            return None
        rule, name, host, process, slurm_job, unlocked = match.groups()
        return cls(rule, name or "", host, int(process), slurm_job, unlocked is None)

    def __str__(self) -> str:
        slurm = f", SLURM job {self.slurm_job}" if self.slurm_job else ""
        unlocked = "" if self.locked else ", without a lock"
        place = f"on {self.host}, process {self.process}{slurm}{unlocked}"
        return f"{self.rule}{f' {self.name}' if self.name else ''}, {place}"


def this_host() -> str:
    """Return the name of this machine."""
    return os.uname().nodename


def tell_device(device: str) -> None:
    """Say in the log which device the job runs on."""
    logger.info("device %s", device)


# How far it is.

RESUMED = re.compile(r"resumed after (\w+) (\d+) of ([1-9]\d*)")
_NUMBER = r"\d+(?:\.\d+)?"
_COUNT = rf"[a-z]+ {_NUMBER}/\d+"
_PROGRESS = re.compile(
    rf"(?P<counts>{_COUNT}(?:  {_COUNT})*)(?P<facts>(?:  .+?)?)  (?P<seconds>{_NUMBER}) s"
    r"(?:  (?P<speed>\d+) images/s)?"
)
_FACT = re.compile(rf"(train|test) (nll|error|rmse) (-?(?:{_NUMBER}(?:e[-+]\d+)?|inf)|nan)")


@dataclass(frozen=True)
class Count:
    """How much of some work is done, such as ``epoch 12/200``."""

    unit: str
    done: float
    total: int

    def __str__(self) -> str:
        # Not as a power of ten, however many there are.
        return f"{self.unit} {round(self.done, 3):.12g}/{self.total}"


@dataclass(frozen=True)
class Progress:
    """A line that says how far a job is.

    Attributes:
        counts: what is counted, the outermost first: of each but the last the part that is being
            worked on, from 1; of the last one how much is done.
        facts: what else the line says, as it stands there.
        seconds: of the work since the line before, or since the start of what is counted.
        images_per_second: of a text words.
    """

    counts: tuple[Count, ...]
    facts: str = ""
    seconds: float = 0.0
    images_per_second: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Progress | None":
        """Read a line without its time; nothing where it is another one."""
        match = _PROGRESS.fullmatch(text)
        if match is None:
            return None
        counts = []
        for count in match["counts"].split("  "):
            unit, done, total = re.split("[ /]", count)
            counts.append(Count(unit, float(done), int(total)))
        speed = None if match["speed"] is None else float(match["speed"])
        return cls(tuple(counts), match["facts"].strip(), float(match["seconds"]), speed)

    def __str__(self) -> str:
        facts = f"  {self.facts}" if self.facts else ""
        images = self.images_per_second
        speed = "" if images is None else f"  {images:.0f} images/s"
        return f"{self.where}{facts}  {self.seconds:.2f} s{speed}"

    @property
    def where(self) -> str:
        """The counts as text."""
        return "  ".join(map(str, self.counts))

    @property
    def share(self) -> float:
        """The share of the outermost work that is done."""
        share = 0.0
        for place, count in enumerate(reversed(self.counts)):
            finished = count.done if place == 0 else count.done - 1 + share
            share = finished / count.total if count.total else 1.0
        return min(share, 1.0)

    @property
    def measured(self) -> Mapping[str, float]:
        """What the line says of loss and error, such as ``test_error``."""
        return {f"{part}_{kind}": float(text) for part, kind, text in _FACT.findall(self.facts)}


@dataclass
class _Told:
    """What the lines of this process share."""

    parts: list[Count]
    last: float


_told = _Told([], time.monotonic())


@contextmanager
def working_on(unit: str, number: int, total: int) -> Iterator[None]:
    """Let the lines of the block begin with the part of the work that it is.

    Args:
        unit: what the parts are, a word.
        number: of this part, from 1.
        total: how many there are.
    """
    _told.parts.append(Count(unit, number, total))
    try:
        yield
    finally:
        _told.parts.pop()


def tell_resumed(unit: str, done: int, total: int) -> None:
    """Say in the log after what a job goes on that was stopped before."""
    logger.info("resumed after %s %d of %d", unit, done, total)


def tell(
    unit: str,
    done: float,
    total: int,
    *,
    facts: str = "",
    seconds: float,
    images_per_second: float | None = None,
) -> None:
    """Say in the log how far the work is; see `Progress`."""
    counts = (*_told.parts, Count(unit, done, total))
    logger.info("%s", Progress(counts, facts, seconds, images_per_second))
    _told.last = time.monotonic()


def is_due() -> bool:
    """Tell whether it is time for another line."""
    return time.monotonic() - _told.last >= SECONDS_BETWEEN_LINES


class Steps:
    """Long work that is counted, with a line in the log where it is time for one.

    Args:
        unit: what is counted, a word.
        total: how many there are.
    """

    def __init__(self, unit: str, total: int) -> None:
        self._unit = unit
        self._total = total
        self._done = 0
        self._start = time.monotonic()

    def add(self, count: int = 1) -> None:
        """Count what has been done."""
        self._done = min(self._done + count, self._total)
        if is_due():
            tell(self._unit, self._done, self._total, seconds=time.monotonic() - self._start)

    def over(
        self, items: Iterable[_Item], size: Callable[[_Item], int] = lambda item: 1
    ) -> Iterator[_Item]:
        """Go through items and count each when it has been worked on.

        Args:
            items: the items.
            size: how much one of them counts.
        """
        for item in items:
            yield item
            self.add(size(item))


# How it ends.

How = Literal["done", "stopped", "failed"]
_ENDS: Mapping[str, How] = {
    "done after ": "done",
    "stopped by ": "stopped",
    "error: ": "failed",
    "ended by ": "failed",
}
"""What the last line of a log begins with."""


def how_it_ended(text: str) -> How | None:
    """Tell how a job ended by its last line; nothing where that does not say it."""
    return next((how for start, how in _ENDS.items() if text.startswith(start)), None)


def done_line(seconds: float) -> str:
    """Return the last line of a job that has done its work."""
    return f"done after {seconds:.1f} s"


def stopped_line(signal: str, after: str | None) -> str:
    """Return the last line of a job that a signal has stopped.

    Args:
        signal: its name.
        after: what was finished and kept before, such as ``epoch 12``, or nothing.
    """
    resumes = f" after {after}; run again to resume" if after else "; run again"
    return f"stopped by {signal}{resumes}"


def error_line(error: object) -> str:
    """Return the last line of a job that an error has ended."""
    return f"error: {error}"


def ended_line(error: BaseException) -> str:
    """Return the last line of a job that something else has ended."""
    return f"ended by {type(error).__name__}"


# The lock.


def hold(log: IO[Any]) -> bool:
    """Lock a log until it is closed, and tell whether its file system can do this.

    Whoever asks for the lock holds it for a moment, so this tries for a second.
    """
    for _ in range(20):
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            time.sleep(0.05)
        else:
            return True
    return False


def is_held(log: IO[Any]) -> bool | None:
    """Tell whether a job holds the lock on a log; nothing where the file system has no locks.

    On a network file system the lock of another machine may not be seen.
    """
    try:
        fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    fcntl.flock(log, fcntl.LOCK_UN)
    return False
