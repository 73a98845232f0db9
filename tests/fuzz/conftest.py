"""Small real files to be damaged, and how long to go on: CRYOVOX_FUZZ_SECONDS, CRYOVOX_FUZZ_FILES, CRYOVOX_FUZZ_SEED."""

import os

import pytest

from cryovox.tasks.decoding.sandbox import Sandbox

ROWS = pytest.StashKey[list[str]]()


def _number(name: str, default: int) -> int:
    return int(os.environ.get(f"CRYOVOX_FUZZ_{name}", default))


@pytest.fixture(scope="session")
def limits() -> tuple[float, int, int]:
    """Seconds for all formats together, files of each at most, and the first seed."""
    return float(_number("SECONDS", 300)), _number("FILES", 300), _number("SEED", 0)


@pytest.fixture(scope="session")
def sandbox():
    """One for all: what ends it is part of the test."""
    with Sandbox(memory=3 << 30) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def table(pytestconfig) -> list[str]:
    """Rows that are printed when all is over."""
    return pytestconfig.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter, config):
    for row in config.stash.get(ROWS, []):
        terminalreporter.write_line(row)
