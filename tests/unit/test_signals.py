import os
import signal
import threading
from collections.abc import Iterator

import pytest

from mode_connectivity.signals import (
    ASKING,
    Stopped,
    ignore_signals_from_now_on,
    signals_held,
    stopping_on_signals,
)


@pytest.fixture(autouse=True)
def survived() -> Iterator[list[int]]:
    """Signals that nothing here stopped at."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: numbers.append(number))
        for number in ASKING
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def ask(*numbers: int) -> None:
    for number in numbers or (signal.SIGTERM,):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_stops_the_block(survived, number) -> None:
    with pytest.raises(Stopped) as caught, stopping_on_signals():
        ask(number)
        raise AssertionError("not stopped")
    assert caught.value.name == number.name
    assert caught.value.after is None
    ask(number)
    assert survived == [number]


def test_no_handler_of_errors_catches_it() -> None:
    with pytest.raises(Stopped), stopping_on_signals():
        try:
            ask()
        except Exception:
            raise AssertionError("caught") from None


def test_later_signals_do_not_disturb_what_the_first_has_begun(survived) -> None:
    with pytest.raises(Stopped) as caught, stopping_on_signals():
        try:
            ask(signal.SIGUSR1)
        finally:
            ask(*ASKING)
            with signals_held():
                ask(*ASKING)
    assert caught.value.name == "SIGUSR1"
    assert survived == []


def test_a_held_signal_stops_at_the_end_of_the_outermost_block() -> None:
    passed = []
    with pytest.raises(Stopped) as caught, stopping_on_signals():
        with signals_held():
            with signals_held():
                ask(signal.SIGINT, signal.SIGTERM)
                passed.append("inner")
            passed.append("outer")
        passed.append("after")
    assert passed == ["inner", "outer"]
    assert caught.value.name == "SIGINT"


def test_nothing_that_is_held_stops_without_a_signal() -> None:
    with stopping_on_signals(), signals_held():
        pass


def test_a_job_at_its_end_is_let_be(survived) -> None:
    with stopping_on_signals():
        with signals_held():
            ask()
            ignore_signals_from_now_on()
        ask(*ASKING)
    assert survived == []
    # Of the next one nothing is known yet.
    with pytest.raises(Stopped), stopping_on_signals():
        ask()


def test_signals_that_are_ignored_stay_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stopping_on_signals():
        ask(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_changes(survived) -> None:
    errors = []

    def work() -> None:
        try:
            with stopping_on_signals(), signals_held():
                handlers = [signal.getsignal(number) for number in ASKING]
                assert handlers == before
        except BaseException as error:
            errors.append(error)

    before = [signal.getsignal(number) for number in ASKING]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
