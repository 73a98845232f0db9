"""A stack is valid, holds every volume, and a kill at any moment costs none of it."""

import mrcfile
import numpy as np
import pytest

from cryovox.tasks.store import mrc_stack
from cryovox.tasks.store.mrc_stack import stack_bytes, write_stack_to_mrc

VOLUMES = np.random.default_rng(0).normal(size=(5, 4, 6, 7)).astype(np.float32)


class Cut(Exception):
    """A kill, which runs no clean-up here either: none is written for it."""


def write(path, volumes=VOLUMES, note="five of noise", asked=None, **words) -> None:
    def volume(i: int) -> np.ndarray:
        if asked is not None:
            asked.append(i)
        if volumes[i] is None:
            raise Cut
        return volumes[i]

    write_stack_to_mrc(volume, len(volumes), (4, 6, 7), 1.3, path, note=note, **words)


def cut_at(n: int) -> list:
    return [*VOLUMES[:n], *[None] * (5 - n)]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(mrc_stack, "AT_ONCE", 2 * 4 * 6 * 7 * 4)  # two volumes
    return tmp_path / "stack.mrc"


def test_a_stack_holds_every_volume_and_its_header_is_valid(path):
    write(path)
    assert mrcfile.validate(path)
    assert path.stat().st_size == stack_bytes(5, (4, 6, 7))
    with mrcfile.open(path) as file:
        header = file.header
        np.testing.assert_array_equal(file.data, VOLUMES)
        assert (header.ispg, header.mx, header.my, header.mz) == (401, 7, 6, 4)
        assert header.cella.tolist() == pytest.approx((9.1, 7.8, 5.2))
        assert header.origin.tolist() == pytest.approx((-3.9, -3.9, -2.6))
        assert header.nlabl == 2
        statistics = [header.dmin, header.dmax, header.dmean, header.rms]
    assert statistics == pytest.approx([VOLUMES.min(), VOLUMES.max(), VOLUMES.mean(), VOLUMES.std()], rel=1e-5)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("n", range(5))
def test_a_stack_that_was_cut_goes_on_and_comes_to_the_same_bytes(path, tmp_path, n):
    whole = tmp_path / "whole.mrc"
    write(whole)
    with pytest.raises(Cut):
        write(path, cut_at(n))
    assert not path.exists()
    asked: list[int] = []
    write(path, asked=asked)
    assert asked == list(range(n - n % 2, 5))  # two volumes between two waits for the disk
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["stack.mrc", "whole.mrc"]


@pytest.mark.parametrize("words", [{"note": "others"}, {"origin": "zero"}])
def test_what_another_call_left_is_not_gone_on_with(path, words):
    with pytest.raises(Cut):
        write(path, cut_at(4))
    asked: list[int] = []
    write(path, asked=asked, **words)
    assert asked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("loss", ["progress", "partial", "nonsense", "short"])
def test_what_a_disk_lost_is_made_anew(path, loss):
    with pytest.raises(Cut):
        write(path, cut_at(4))
    progress, partial = path.with_name(".stack.mrc.progress"), path.with_name(".stack.mrc.partial")
    if loss in ("progress", "partial"):
        {"progress": progress, "partial": partial}[loss].unlink()
    elif loss == "nonsense":
        progress.write_text("{}")
    else:
        partial.write_bytes(partial.read_bytes()[:-1])
    asked: list[int] = []
    write(path, asked=asked)
    assert asked == [0, 1, 2, 3, 4]
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, VOLUMES)


def test_a_stack_that_is_there_is_kept_and_another_replaced(path):
    write(path)
    asked: list[int] = []
    write(path, asked=asked)
    assert asked == []
    write(path, -VOLUMES, note="others")
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, -VOLUMES)


def test_volumes_of_another_shape_or_not_finite_are_errors(path):
    with pytest.raises(ValueError, match=r"volume 1 has shape \(4, 6, 6\)"):
        write(path, [VOLUMES[0], VOLUMES[0][:, :, 1:]])
    with pytest.raises(ValueError, match="finite"):
        write(path, [VOLUMES[0] * np.nan])
    with pytest.raises(ValueError, match="80 printable"):
        write(path, note="x" * 81)
    assert not path.exists()


def test_one_volume_is_in_memory_at_a_time(path):
    import tracemalloc

    shape = (32, 64, 64)
    tracemalloc.start()
    write_stack_to_mrc(lambda i: np.full(shape, i, np.float32), 30, shape, 1.0, path, note="n")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * np.prod(shape) * 4
    with mrcfile.mmap(path) as file:
        np.testing.assert_array_equal(file.data[:, 0, 0, 0], np.arange(30))
