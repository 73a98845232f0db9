"""What is proven of mean and variance: what the store's type took, that the store gives it back, and two laws over all frames."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from cryovox.tasks.errors import StoreDamage
from cryovox.tasks.render.certificate import rounding
from cryovox.tasks.store import products
from cryovox.tasks.store.layout import StoreSettings
from cryovox.tasks.store.read import read_attributes, read_frames
from cryovox.workflows.averages import finish as putting
from cryovox.workflows.averages.files import Average


@pytest.mark.parametrize("settings", [("float32", None), ("float16", None), ("float32", 5)])
def test_the_attributes_say_what_was_certified_and_what_rounding_took(averaging, labelled, averaged, tmp_path, settings):
    averaged(averaging(), labelled, tmp_path / "exact.zarr")
    run = averaged(averaging(store=StoreSettings("x.zarr", *settings)), labelled, tmp_path / "a.zarr")
    assert run.certificate.against.endswith(", frame by frame, before they were averaged")
    said = products.read(tmp_path / "a.zarr")["rounding"]
    for name in products.PRODUCTS:
        exact, stored = (read_frames(tmp_path / one / name, [0])[0].astype(float) for one in ("exact.zarr", "a.zarr"))
        assert said[name] == read_attributes(tmp_path / "a.zarr" / name)["cryovox"]["rounding"]
        assert 0 < said[name]["relative_l2"] <= said[name]["limit"] == rounding(*settings)
        if settings != ("float32", None):
            apart = np.linalg.norm(stored - exact) / np.linalg.norm(exact)
            assert said[name]["relative_l2"] == pytest.approx(apart, rel=1e-3)
        assert said[name]["voxels"] == 4096


def _made(averaging, labelled, begin_average, path):
    run = begin_average(averaging("weight"), labelled, path)
    for _, do in run.steps():
        do()
    return run


@pytest.mark.parametrize("product", [0, 1])
def test_a_mean_or_variance_that_is_not_the_frames_is_never_put_in_place(
    averaging, labelled, begin_average, tmp_path, monkeypatch, product
):
    """The mean is held against the masses, the variance against the frames' squares: neither is made of the moments."""
    run, right = _made(averaging, labelled, begin_average, tmp_path / "a.zarr"), Average.moments

    factors = np.array([[1 + 1e-3, 1.0], [1.0, 1 + 1e-5]])[product].reshape(2, 1, 1, 1)

    @contextmanager
    def wrong(average, node):
        with right(average, node) as moments:
            yield replace(moments, bricks=(brick * factors for brick in moments.bricks))

    monkeypatch.setattr(Average, "moments", wrong)
    with pytest.raises(StoreDamage, match=("the mass of the mean is wrong", "the variance is wrong")[product]):
        run.end()
    run.lock.release()
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("name", products.PRODUCTS)
def test_a_store_that_gives_other_voxels_back_is_never_put_in_place(
    averaging, labelled, begin_average, tmp_path, monkeypatch, name
):
    run, right = _made(averaging, labelled, begin_average, tmp_path / "a.zarr"), putting.write_shard

    def wrong(writer, layout, shard, bricks):
        if writer.store.name == name:
            bricks = replace(bricks, values=np.nextafter(bricks.values, np.float32(1)))
        return right(writer, layout, shard, bricks)

    monkeypatch.setattr(putting, "write_shard", wrong)
    with pytest.raises(StoreDamage, match=f"the {name} is not what was written"):
        run.end()
    run.lock.release()
    assert not (tmp_path / "a.zarr").exists()
