"""The doctor names what is there, what is missing and how to get it; a broken part is a line, never a traceback."""

import builtins
import re
import socket
import sys
from types import ModuleType

import pytest

from cryovox.pipeline import doctor
from cryovox.pipeline.workers import gpus


@pytest.fixture
def line(tmp_path, monkeypatch):
    """The finding of one name."""
    monkeypatch.chdir(tmp_path)
    return lambda name: doctor._attempt(name, doctor._EXAMINED[name])


@pytest.fixture
def without(monkeypatch):
    """Makes a package impossible to import."""

    def remove(package):
        monkeypatch.setitem(sys.modules, package, None)
        real = doctor.find_spec
        monkeypatch.setattr(doctor, "find_spec", lambda name: None if name.split(".")[0] == package else real(name))

    return remove


def test_every_line_of_a_healthy_machine(tmp_path, cryovox):
    done = cryovox("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [text[4:17].strip() for text in done.stdout.splitlines()]
    assert names == ["Python", "cores", *doctor.REQUIRED, *doctor._EXAMINED]
    assert all(text[:2] in ("ok", "--") for text in done.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "name", "how"),
    [
        ("dask_cuda", "dask-cuda", "gpu-cuda12"),
        ("cupy", "CuPy", "gpu-cuda12"),
        ("nvidia", "nvCOMP", "gpu-cuda12"),
        ("dask_jobqueue", "SLURM", "cryovox[slurm]"),
        ("jax_finufft", "NUFFT", "pip install jax-finufft"),
    ],
)
def test_what_is_optional_and_missing_says_how_to_get_it(line, without, package, name, how):
    without(package)
    found = line(name)
    assert found.ok is None
    assert how in found.text


def test_what_is_needed_and_broken_is_a_line_with_a_cure(line, monkeypatch):
    real = builtins.__import__

    def broken(name, *more, **named):
        if name == "distributed.security":
            raise ImportError("libssl is broken")
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", broken)
    found = line("TLS")
    assert found.ok is False
    assert "libssl is broken" in found.text
    assert "reinstall" in found.text


def test_a_gpu_that_jax_cannot_use_is_a_fault(line, monkeypatch):
    monkeypatch.setattr(gpus, "gpus", lambda: (2, ""))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    found = line("JAX devices")
    assert found.ok is False
    assert "2 GPUs" in found.text
    assert "gpu-cuda12" in found.text


def test_a_platform_that_jax_was_told_and_has_not_is_a_line(tmp_path, cryovox, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    done = cryovox("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"!!  JAX devices +JAX_PLATFORMS=cuda is set here", done.stdout)


def test_whatever_a_broken_package_raises_is_a_line(line, monkeypatch):
    monkeypatch.setitem(doctor._EXAMINED, "TLS", lambda: [][1])
    found = line("TLS")
    assert found.ok is False
    assert "IndexError" in found.text


def test_a_driver_is_named_with_its_cards(line, monkeypatch):
    nvml = ModuleType("pynvml")
    monkeypatch.setattr(gpus, "gpus", lambda: (1, ""))
    monkeypatch.setattr(gpus, "models", lambda: ["H100"])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    nvml.nvmlInit = nvml.nvmlShutdown = lambda: None
    nvml.nvmlSystemGetCudaDriverVersion = lambda: 13020
    nvml.nvmlSystemGetDriverVersion = lambda: "580.1"
    assert line("GPU driver").text == "driver 580.1, CUDA 13.2: H100"


def test_a_port_that_is_taken_is_said(line, monkeypatch):
    def taken(address):
        raise OSError("in use")

    monkeypatch.setattr(socket, "create_server", taken)
    assert "8787 is taken" in line("dashboard").text


def test_a_folder_that_cannot_be_written_is_said(line, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuse)
    found = line("disk")
    assert found.ok is False
    assert "a folder that you may write to" in found.text
