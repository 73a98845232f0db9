"""Shapes and types are checked in every test: the hook must come before the first import of cryovox."""

from jaxtyping import install_import_hook

install_import_hook("cryovox", "beartype.beartype")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def data() -> Path:
    """Reference arrays (volumes.md §4) and small structures."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def quickstart() -> Path:
    """The real ensemble of the quickstart: adk.pdb and adk.xtc."""
    return Path(__file__).parent.parent / "configs" / "quickstart"


@pytest.fixture
def x64():
    """Double precision for one test: the last digits of the acceptance cases need it."""
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)
