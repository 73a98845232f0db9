"""What a worker says in the moment that its scheduler ends is no error; all else it says is said as Dask says it."""

import inspect
import logging

import pytest
from distributed.worker import Worker

from cryovox.pipeline.workers import preload


@pytest.fixture
def logger():
    """Dask's own, as it was before and after."""
    logger = logging.getLogger("distributed.worker")
    before = list(logger.filters)
    yield logger
    logger.filters[:] = before


def test_a_heartbeat_that_nobody_hears_leaves_no_traceback(logger, caplog):
    assert preload.UNHEARD in inspect.getsource(Worker.heartbeat), "Dask says it in other words now"
    preload.let_heartbeats_fail()
    preload.let_heartbeats_fail()  # of many workers in a process
    assert len(logger.filters) <= 1
    for words in (f"{preload.UNHEARD}.", "Unexpected exception during heartbeat. Closing worker."):
        try:
            raise OSError("stream is closed")
        except OSError:
            logger.exception(words)
    unheard, other = caplog.records
    assert (unheard.levelno, unheard.exc_info) == (logging.INFO, None)
    assert other.levelno == logging.ERROR
    assert other.exc_info is not None
