"""Shapes and types are checked in every test: the hook must come before the first import of cryovox."""

from jaxtyping import install_import_hook

install_import_hook("cryovox", "beartype.beartype")

import os  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _keeps_its_cores_and_streams():
    """A test that binds this process to a core would slow down all that follow; one that closes its input breaks them."""
    allowed = getattr(os, "sched_getaffinity", lambda _: None)
    before = allowed(0), [os.fstat(stream).st_ino for stream in range(3)]
    yield
    assert allowed(0) == before[0], "bound to a core: a worker's work in the tests' own process"
    assert [os.fstat(stream).st_ino for stream in range(3)] == before[1], "a standard stream was closed"


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


@pytest.fixture(scope="session")
def lent():
    """One decoding child for all tests that ask for it, which nobody closes before the end."""
    from cryovox.tasks.decoding.sandbox import Sandbox

    class Lent(Sandbox):
        def close(self) -> None:
            """Stays for the next test."""

    sandbox = Lent()
    yield sandbox
    Sandbox.close(sandbox)


@pytest.fixture(scope="session")
def share_decoder(lent):
    """`share_decoder(patch)`: whatever is opened in this process is read by the child that is lent; each takes half a second."""
    from cryovox.pipeline import init, inspect
    from cryovox.tasks.ensemble import inspection, reader, trajectory

    def share(patch: pytest.MonkeyPatch) -> None:
        for module in (init, inspect, inspection, reader, trajectory):
            patch.setattr(module, "Sandbox", lambda *_: lent)

    return share


@pytest.fixture
def one_decoder(share_decoder, monkeypatch) -> None:
    """For one test."""
    share_decoder(monkeypatch)


def _beside(name: str):
    """A module that several tests share: tests are no package."""
    import sys
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def look_alikes(tmp_path_factory):
    """Folders as BioEmu, Boltz, GROMACS and others leave them: `look_alikes.make("bioemu")`, see tests/look_alikes.py."""
    return _beside("look_alikes").LookAlikes(tmp_path_factory.mktemp("look_alikes"))


@pytest.fixture(scope="session")
def lab_of():
    """`with lab_of(folder) as lab`: somebody else's scheduler and workers, see tests/lab.py."""
    return _beside("lab").Lab


@pytest.fixture(scope="session")
def mutations():
    """Small real files and damage to them: tests/mutations.py."""
    return _beside("mutations")


@pytest.fixture(scope="session")
def judgement():
    """Opens and reads damaged files, and says what must not have happened: tests/judgement.py."""
    return _beside("judgement")


@dataclass
class Done:
    """What a recipe came to."""

    job: object
    certificate: object
    volumes: np.ndarray
    """(t, z, y, x), as read back."""


@pytest.fixture(scope="session")
def carry_out():
    """Carries out a recipe in this process: tests/carrying_out.py."""
    return _beside("carrying_out").carry_out


@pytest.fixture
def carried_out(tmp_path, carry_out):
    """Carries out a recipe whose inputs lie in a folder; each call has a store of its own."""
    from cryovox.tasks.store.read import read_frames

    count = iter(range(100))

    def run(recipe, folder: Path) -> Done:
        store = tmp_path / f"store{next(count)}.zarr"
        done = carry_out(recipe, folder, store)
        return Done(done.job, done.certificate, read_frames(store, np.arange(done.job.layout.n_frames)))

    return run
