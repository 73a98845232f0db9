"""Each way to end has one exit code, and a fault of the program keeps its traceback."""

import errno
import signal

import pytest

from cryovox.pipeline.events.exits import Exit, Interrupted, UnitFailed, exit_of
from cryovox.pipeline.events.signals import held, listening
from cryovox.tasks.errors import DecoderFault, FrameFault, LockLost, Problem, Refusal, StoreDamage

PROBLEM = Problem("bad", "here")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal(PROBLEM), Exit.REFUSED),
        (FrameFault(3, PROBLEM), Exit.STOPPED),
        (DecoderFault("died"), Exit.STOPPED),
        (StoreDamage(PROBLEM), Exit.STOPPED),
        (UnitFailed(3, OSError("gone")), Exit.STOPPED),
        (Interrupted("SIGTERM"), Exit.INTERRUPTED),
        (LockLost("taken"), Exit.INTERRUPTED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (OSError(errno.ENOSPC, "full"), Exit.INTERRUPTED),
        (OSError(errno.EROFS, "read-only"), Exit.INTERRUPTED),
        (OSError(errno.EIO, "broken"), None),
        (ZeroDivisionError(), None),
    ],
)
def test_every_known_end_has_its_code(error, code):
    assert exit_of(error) is code


@pytest.fixture(autouse=True)
def not_started_with_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_strikes_at_once_where_nobody_asks(number):
    heard = []
    with listening(heard.append), pytest.raises(Interrupted, match=number.name):
        signal.raise_signal(number)
    assert len(heard) == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_where_somebody_asks_and_the_second_does_not(number):
    with listening(lambda _: None) as signals, signals.asked_for() as stop:
        assert stop() is None
        signal.raise_signal(number)
        assert stop() == f"stopped by {number.name}"
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)


def test_the_handlers_that_were_there_come_back_and_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
        with listening(lambda _: None):
            assert signal.getsignal(signal.SIGTERM) != handlers[0]
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == handlers
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_among_imports_is_delivered_after_them():
    done = []

    def imports():
        with held():
            signal.raise_signal(signal.SIGTERM)
            done.append("imported")
        done.append("too late")

    with listening(lambda _: None), pytest.raises(Interrupted):
        imports()
    assert done == ["imported"]


def test_the_echo_of_a_sigterm_is_not_a_second_one():
    with listening(lambda _: None) as signals, signals.asked_for() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop() == "stopped by SIGTERM"
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_is_not_caught_by_whoever_catches_all_that_a_library_may_raise():
    def library():
        try:
            raise Interrupted("stopped by SIGTERM")
        except Exception as error:
            raise AssertionError from error

    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        library()
