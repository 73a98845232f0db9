"""The report of a store that was really drawn: its numbers are the ledger's, its pictures the store's."""

import base64
import io
import json
import os
import re

import matplotlib.image
import numpy as np
import pytest
import zarr
from google_crc32c import value as crc32c

from cryovox.pipeline.report import facts as report
from cryovox.pipeline.report import history
from cryovox.tasks.store.layout import read_layout, run_folder
from cryovox.tasks.store.shard import CHECKSUM, NOWHERE, opened


@pytest.fixture(scope="module")
def seen(made, written):
    return written(made, "cryovox run x.yaml")


@pytest.fixture(scope="module")
def frames(made) -> list[dict]:
    """The ledger's frames, read as the plain JSON that they are."""
    files = sorted((made / "ledger").glob("c.*.0"), key=lambda file: int(file.name.split(".")[1]))
    return [frame for file in files for frame in json.loads(file.read_text())["frames"]]


def test_its_figures_are_those_of_the_store(seen, made):
    size = sum(file.stat().st_size for file in (made / "potential").glob("c.*"))
    array = zarr.open_group(made, mode="r")["potential"]
    n, *shape = array.shape
    assert seen.text["mark"] == "complete"
    assert "resume" not in seen.text
    assert seen.row("figures", "frames") == [f"0 pending, {n} done, 0 skipped, 0 failed"]
    assert seen.row("figures", "grid") == [f"{shape[0]} × {shape[1]} × {shape[2]} voxels (z, y, x) of 2.5 Å"]
    assert seen.row("figures", "atoms a frame") == ["214"]
    cards = seen.text["figures"]
    assert f"{size / 1e3:.1f} kBon disk" in cards
    assert f"{array.nbytes / 1e6:.1f} MBdense" in cards
    assert f"{array.nbytes / size:.1f} times" in cards


def test_its_summary_says_it_in_words(seen, frames, number):
    words = seen.text["summary"].replace("\xa0", " ")
    errors = [abs(f["sum"] * 2.5**3 - f["mass"]) / f["scale"] for f in frames]
    assert words.startswith("9 of 9 frames of adk.pdb and adk.xtc are drawn")
    assert "No frame was skipped and none failed." in words
    bound = re.search(r"mass in the box to (\S+)\. ", words)[1]
    assert number(bound) == pytest.approx(max(errors), rel=0.05)
    l2 = re.search(r"relative L2 error (\S+), where 1.0×10⁻⁵ was asked for", words)[1]
    assert number(l2) == pytest.approx(certified(frames)[0], rel=0.05)
    assert "Three frames were compared voxel by voxel with the direct sum over all atoms" in words


def certified(frames: list[dict]) -> tuple[float, float, int]:
    """Relative L2 error, largest error and voxels of the frames that were compared, together."""
    each = [frame["accuracy"] for frame in frames if frame["accuracy"]]
    l2 = (sum(a["squared_error"] for a in each) / sum(a["squared_norm"] for a in each)) ** 0.5
    return l2, max(a["largest_error"] for a in each) / max(a["largest_value"] for a in each), sum(a["n_voxels"] for a in each)


def test_its_certificate_is_the_ledgers(seen, frames, number):
    l2, largest, voxels = certified(frames)
    asked, limit, got, against = seen.row("certificate", "relative L2 error")
    assert (number(asked), against) == (1e-5, "the direct sum over all atoms")
    assert number(limit) == pytest.approx(10 * (1e-5 + np.finfo(np.float32).eps), rel=0.05)
    assert number(got) == pytest.approx(l2, rel=0.005)
    assert number(seen.row("certificate", "largest error, of the largest value")[2]) == pytest.approx(largest, rel=0.005)
    assert f"{voxels:,} voxels" in seen.text["certificate"]
    compared = {i: frame["accuracy"] for i, frame in enumerate(frames) if frame["accuracy"]}
    assert list(compared) == [0, 4, 8]
    for i, one in compared.items():
        n, error, worst = seen.row("certificate", f"frame {i}")
        assert n == f"{one['n_voxels']:,}"
        assert number(error) == pytest.approx((one["squared_error"] / one["squared_norm"]) ** 0.5, rel=0.005)
        assert number(worst) == pytest.approx(one["largest_error"] / one["largest_value"], rel=0.005)


def test_its_charts_name_the_frames_that_stand_out(seen, frames, number):
    errors = [abs(f["sum"] * 2.5**3 - f["mass"]) / f["scale"] for f in frames]
    for values, what in (
        (errors, "Σ|a|"),
        ([f["max"] for f in frames], "Å⁻²"),
        ([f["sum"] * 2.5**3 for f in frames], "voxels, Å"),
    ):
        said = re.search(rf"{re.escape(what)}; largest (\S+) in frame (\d+), smallest (\S+) in frame (\d+)", seen.text["frames"])
        assert (int(said[2]), int(said[4])) == (np.argmax(values), np.argmin(values))
        assert (number(said[1]), number(said[3])) == pytest.approx((max(values), min(values)), rel=5e-3)
    charts = [attributes for tag, attributes in seen.tags if attributes.get("class") == "trace"]
    assert len(charts) == 3


def pictures(seen) -> list[tuple[str, np.ndarray]]:
    """(what it shows, (y, x, 3) from 0 to 1, y upwards)."""
    found = []
    for tag, attributes in seen.tags:
        if tag == "img":
            kind, data = attributes["src"].split(",")
            assert kind == "data:image/png;base64"
            image = matplotlib.image.imread(io.BytesIO(base64.b64decode(data, validate=True)), format="png")
            found.append((attributes["alt"], image[::-1, :, :3]))
    return found


def test_its_pictures_are_the_stores(seen, made):
    voxels = zarr.open_group(made, mode="r")["potential"][:].astype(float)
    shown = [0, 2, 3, 5, 6, 8]
    projections = voxels[shown].sum(axis=1) * 2.5
    slices = voxels[shown, voxels.shape[1] // 2]
    kept = np.argwhere(np.any([p > 1e-3 * p.max() for p in projections], axis=0))
    y, x = (slice(max(0, a - 4), b + 5) for a, b in zip(kept.min(0), kept.max(0), strict=True))
    drawn = [(title, image) for title, image in pictures(seen) if "colours" not in title]
    assert [title for title, _ in drawn[:6]] == [f"Projection along z, frame {frame}" for frame in shown]
    assert [title for title, _ in drawn[12:]] == [
        f"Central slice, z = 0 (voxel {voxels.shape[1] // 2}), frame {frame}" for frame in shown
    ]
    for images, stored in ((drawn[:6], projections), (drawn[12:], slices)):
        for (_, image), one in zip(images, stored, strict=True):
            share = (1 - image[..., 0]) / (1 - 27 / 255)
            np.testing.assert_allclose(share, one[y, x] / stored.max(), atol=0.006)
    change = drawn[8][1]
    difference = (projections[2] - projections[0])[y, x]
    strong = np.abs(difference) > 0.2 * np.abs(projections - projections[0]).max()
    assert ((change[..., 0] > change[..., 2]) == (difference > 0))[strong].all()  # red where there is more, blue where less


def test_a_damaged_brick_costs_its_picture_alone(store, written):
    file = store / "potential" / "c.5.0.0.0"
    data = bytearray(file.read_bytes())
    data[10] ^= 0xFF
    file.write_bytes(data)
    seen = written(store)
    titles = [title for title, _ in pictures(seen)]
    assert [f"Projection along z, frame {i}" in titles for i in (3, 5, 6)] == [True, False, True]
    assert "frame 5 cannot be shown: " in seen.text["pictures"]
    assert seen.text["mark"] == "complete"


def test_a_brick_with_a_right_checksum_and_no_zstd_inside_costs_its_picture_alone(store, written):
    file = store / "potential" / "c.5.0.0.0"
    layout, _ = read_layout(store)
    with opened(store, layout, 5) as reader:
        offset, length = next((int(o), int(n)) for o, n in reader.index.reshape(-1, 2) if n != NOWHERE)
    data, nonsense = bytearray(file.read_bytes()), bytes(length - CHECKSUM)
    data[offset : offset + length] = nonsense + crc32c(nonsense).to_bytes(CHECKSUM, "little")
    file.write_bytes(data)
    seen = written(store)
    titles = [title for title, _ in pictures(seen)]
    assert [f"Projection along z, frame {i}" in titles for i in (3, 5, 6)] == [True, False, True]
    assert re.search(r"frame 5 cannot be shown: \w+", seen.text["pictures"])


def test_a_truncated_shard_and_a_torn_record_are_named_and_pending(store, written):
    os.truncate(store / "potential" / "c.2.0.0.0", 100)
    (store / "ledger" / "c.7.0").write_bytes(b"{")
    seen = written(store, "cryovox run x.yaml")
    assert seen.text["mark"] == "not complete: 2 pending"
    assert seen.row("figures", "frames") == ["2 pending, 7 done, 0 skipped, 0 failed"]
    assert "shard 2 is not what its record says" in seen.text["failures"]
    assert "record of shard 7 is damaged" in seen.text["failures"]
    assert "cryovox run x.yaml" in (run_folder(store) / "report.html").read_text()


def test_an_unfinished_store_says_how_far_it_is_and_how_to_go_on(store, frames, written, number):
    for shard in (1, 4, 8):
        (store / "ledger" / f"c.{shard}.0").unlink()
    root = json.loads((store / "zarr.json").read_text())
    del root["attributes"]["cryovox"]["certificate"]
    root["attributes"]["cryovox"]["complete"] = False
    (store / "zarr.json").write_text(json.dumps(root))
    history.append(run_folder(store), {"state": "interrupted", "reason": "SIGTERM\nmore", "done": 6, "frames": 9})
    seen = written(store, "cryovox run 'my recipe.yaml'")
    assert seen.text["mark"] == "not complete: 3 pending"
    assert "The last run: interrupted: SIGTERM. Nothing that was done is lost" in seen.text["resume"]
    assert "Three frames are still pending." in seen.text["summary"]
    l2, _, _ = certified([frames[0]])
    assert number(seen.row("certificate", "relative L2 error")[2]) == pytest.approx(l2, rel=0.005)
    assert "not closed" in seen.text["certificate"]
    assert [title for title, _ in pictures(seen) if "Projection" in title] == [
        f"Projection along z, frame {i}" for i in (0, 2, 3, 5, 6, 7)
    ]


def test_its_lines_open_the_store(seen, made, monkeypatch):
    monkeypatch.chdir(made.parent)
    namespace: dict = {}
    exec(seen.text["open"], namespace)
    np.testing.assert_array_equal(namespace["volume"], zarr.open_group(made, mode="r")["potential"][4])
    assert seen.row("provenance", "command") == ["cryovox run x.yaml"]
    assert "Peng" in seen.row("provenance", "scattering factors")[0]
    root = json.loads((made / "zarr.json").read_text())["attributes"]["cryovox"]
    assert seen.row("provenance", "recipe hash") == [f"sha256:{root['recipe_hash']}"]
    for source in root["sources"]:
        assert seen.row("provenance", source["name"]) == [f"{source['size']:,}", source["digest"]]
    assert f"jax=={root['versions']['jax']}" in seen.text["repeat"]


def test_it_is_written_whole_or_not_at_all(store, monkeypatch):
    folder = run_folder(store)
    first = report.write(store, folder)
    before = first.read_bytes()
    monkeypatch.setattr("cryovox.pipeline.report.page.page", lambda facts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(store, folder)
    monkeypatch.setattr("cryovox.pipeline.report.page.page", lambda facts: "half\ud800")
    with pytest.raises(UnicodeEncodeError):
        report.write(store, folder)
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    assert first.read_bytes() == before
