"""Signals that ask a job to stop: they end its work between two steps, never within a write."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""A scheduler's time limit and ``scancel``, its early warning, and Ctrl-C."""


class Stopped(BaseException):
    """A signal has asked this job to stop; nobody but the job itself catches it.

    Attributes:
        name: of the signal.
        after: what was finished and kept before, such as ``epoch 12``, or nothing.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.after: str | None = None


class _Stop:
    """What the handler knows of the main thread."""

    def __init__(self) -> None:
        self.held = 0
        self.waiting: int | None = None
        self.over = False

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        if self.over:
            return
        if self.held:
            self.waiting = number if self.waiting is None else self.waiting
            return
        # The next signal would only disturb what the first one has begun.
        self.over = True
        raise Stopped(number)


_stop = _Stop()


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the block at the first of the ``ASKING`` signals, and ignore the others.

    Signals that the process ignores stay ignored. Handlers are afterwards as they were before.
    Outside the main thread, to which Python hands signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _stop
    _stop = _Stop()
    before = {number: signal.getsignal(number) for number in ASKING}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _stop.ask)
        yield
    finally:
        _stop.over = True
        for number, handler in before.items():
            # None: a handler of C code, which Python cannot put back.
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def signals_held() -> Iterator[None]:
    """Put off ``Stopped`` to the end of the block, of the outermost one if they are nested."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stop.held += 1
    try:
        yield
    finally:
        _stop.held -= 1
        if _stop.waiting is not None:
            number, _stop.waiting = _stop.waiting, None
            _stop.ask(number)


def ignore_signals_from_now_on() -> None:
    """Let the job come to its end: its results are written, and stopping it would lose them."""
    _stop.over = True
