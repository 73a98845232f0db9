"""Most of these tests' time is compilation: XLA's optimisations, a third of it, are made where voxels meet their oracles."""

import jax
import pytest

AS_USERS_RUN = ("test_oracles", "test_bricks", "test_gaussian", "test_cpu_bricks", "test_device", "test_map_engine", "test_modes")
"""With test_acceptance and every run of tests/pipeline."""


@pytest.fixture(autouse=True, scope="module")
def _few_optimisations(request):
    if request.module.__name__.rpartition(".")[2] in AS_USERS_RUN:
        yield
        return
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
