"""`cryovox preview` draws what is stored: the frames that are done, on one scale, in the store's units, the same every time."""

import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from jaxtyping import Float

from cryovox.pipeline.preview import Previewed, preview
from cryovox.tasks.errors import Refusal, StoreDamage
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.pictures.lettering import write
from cryovox.tasks.store import ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import AVERAGES, MAP, Meaning, StoreLayout
from cryovox.tasks.store.read import read_frames
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import Bricks, FrameRecord, FrameStatus, Label, Labels, ShardRecord

N, H = 7, 1.5
STATES = ("closed", "open")


def bricks_of(volumes: Float[np.ndarray, "f z y x"], grid: VoxelGrid) -> Bricks:
    """Every brick that is not 0."""
    frames, places, values = [], [], []
    for frame, volume in enumerate(volumes):
        for place in np.ndindex(*grid.n_bricks):
            block = np.zeros((grid.brick,) * 3, np.float32)
            inside = volume[grid.brick_slices(place)]
            block[tuple(slice(0, n) for n in inside.shape)] = inside
            if block.any():
                frames.append(frame)
                places.append(place)
                values.append(block)
    return Bricks(
        len(volumes),
        np.array(frames, np.int64),
        np.array(places, np.int64).reshape(-1, 3),
        np.array(values, np.float32).reshape(-1, *(grid.brick,) * 3),
    )


def written(
    path: Path,
    volumes: Float[np.ndarray, "f z y x"],
    meaning: Meaning = AVERAGES,
    labels: Labels | None = None,
    skipped: tuple[int, ...] = (),
    until: int | None = None,
    product: str | None = None,
) -> None:
    """A store of these volumes, not closed; frames from `until` on are pending."""
    layout = StoreLayout(VoxelGrid(volumes.shape[1:], H), len(volumes), "float32", 1)
    path.with_name(f"{path.name}.run").mkdir(parents=True)
    attributes = {"recipe": {}} | ({} if product is None else {"product": product})
    template.create(Writer.begin(path, "run"), template.Beginning(layout, attributes, meaning, labels=labels))
    eye = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    for i, volume in enumerate(volumes[:until]):
        bad = i in skipped
        size, digest = write_shard(Writer.begin(path, "run"), layout, i, bricks_of(volume[None] * (not bad), layout.grid))
        status, reason = (FrameStatus.SKIPPED, "an atom at infinity") if bad else (FrameStatus.DONE, "")
        frame = FrameRecord(status, 0, i, 2.5 * i, eye, (0.0, 0.0, 0.0), 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, reason)
        ledger.commit(Writer.begin(path, "run"), layout, ShardRecord(i, i, (frame,), size, digest, "xla"))


def volumes_of(n: int, shape: tuple[int, int, int] = (20, 24, 36), seed: int = 0) -> np.ndarray:
    """Boxes of random values in other places, the last the brightest; nothing of them is seen at the volume's edges."""
    rng = np.random.default_rng(seed)
    volumes = np.zeros((n, *shape), np.float32)
    for i, volume in enumerate(volumes):
        at = tuple(slice(a := int(rng.integers(5, size - 11)), a + 6) for size in shape)
        volume[at] = (1 + i) * (0.5 + rng.random((6, 6, 6)))
    return volumes


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a preview drew, in place of the file."""

    said: Previewed
    images: list[np.ndarray]
    limits: set[tuple[float, float]]
    texts: list[str]


@pytest.fixture
def look(monkeypatch) -> Callable[..., Drawn]:
    """`look(store, …)`: the arrays that are drawn, by the order of the pictures."""

    def call(*arguments, **named) -> Drawn:
        figures = []
        with monkeypatch.context() as patch:
            patch.setattr("cryovox.pipeline.preview.write", lambda figure, *rest: (figures.append(figure), write(figure, *rest)))
            said = preview(*arguments, **named)
        (figure,) = figures
        drawn = [axes.images[0] for axes in figure.axes if axes.images]
        texts = [text.get_text() for text in figure.texts] + [axes.get_xlabel() for axes in figure.axes]
        return Drawn(said, [np.asarray(one.get_array()) for one in drawn], {one.get_clim() for one in drawn}, texts)

    return call


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Seven frames: number 2 is left out, 6 is pending; states by turns. Not to be changed."""
    path = tmp_path_factory.mktemp("preview") / "a.zarr"
    states = Label("state", np.array([1, 0, 1, 0, 1, -1, 0]), STATES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        written(path, volumes_of(N), labels=Labels((Label("cv", np.arange(7.0)), states)), skipped=(2,), until=6)
    return path


def padded(image: np.ndarray, whole: np.ndarray) -> bool:
    """Whether `whole` is the image somewhere in zeros."""
    windows = np.lib.stride_tricks.sliding_window_view(whole, image.shape)
    sums = image.sum(dtype=float) == pytest.approx(whole.sum(dtype=float), rel=1e-6)
    return bool(sums and np.isclose(windows, image, rtol=1e-6, atol=1e-9).all(axis=(2, 3)).any())


def test_every_image_of_a_sheet_is_numpys_sum_along_z(store, look):
    drawn = look(store)
    assert drawn.said.frames == (1, 3, 0, 4, 5)  # closed, open, and the one that has no state
    assert drawn.said.grouped_by == "state"
    for frame, image in zip(drawn.said.frames, drawn.images, strict=True):
        assert padded(image, read_frames(store, [frame])[0].sum(axis=0, dtype=float) * H)
    assert [len(set(map(np.shape, drawn.images))), len(drawn.limits)] == [1, 1]
    assert drawn.limits == {(0.0, max(float(image.max()) for image in drawn.images))}


@pytest.mark.parametrize("kind", ["projections", "slices"])
def test_rows_are_axes_and_columns_are_frames_in_one_box(store, look, kind):
    drawn = look(store, slice(3, 6), kind=kind)
    assert drawn.said.frames == (3, 4, 5)
    volumes = read_frames(store, drawn.said.frames)
    for axis in range(3):
        for column, volume in enumerate(volumes):
            middle = volume.shape[axis] // 2
            wanted = volume.take(middle, axis=axis) if kind == "slices" else volume.sum(axis=axis, dtype=float) * H
            assert padded(drawn.images[3 * axis + column], wanted)
    (nz, ny), (nz_too, nx), (ny_too, nx_too) = (drawn.images[3 * axis].shape for axis in (2, 1, 0))
    assert (nz, ny, nx) == (nz_too, ny_too, nx_too)
    largest = [max(float(image.max()) for image in drawn.images[3 * axis : 3 * axis + 3]) for axis in range(3)]
    assert drawn.limits == ({(0.0, max(largest))} if kind == "slices" else {(0.0, one) for one in largest})
    names = [text for text in drawn.texts if "→" in text]
    assert [name.split("\n")[1] for name in names] == ["x →  y ↑", "x →  z ↑", "y →  z ↑"]


def test_a_frame_that_is_not_done_is_not_drawn_but_said(store, look):
    drawn = look(store, slice(None))
    assert drawn.said.frames == (0, 1, 3, 4, 5)
    assert drawn.said.left_out == ("frame 2: skipped: an atom at infinity", "frame 6: pending")
    assert len(drawn.images) == 5
    assert look(store).said.left_out == ("frame 2: skipped: an atom at infinity",)  # nobody asked for what is pending


def test_titles_say_number_time_and_category(store, look):
    assert {"frame 1 · 2.5 ps · closed", "frame 5 · 12.5 ps · –"} <= set(look(store).texts)
    assert "frame 1 · 2.5 ps" in look(store, slice(1, 2), kind="slices").texts


@pytest.mark.parametrize("kind", ["sheet", "slices"])
@pytest.mark.parametrize(
    ("group", "names"), [(Label("group", np.arange(2), STATES), STATES), (Label("group", np.array([1.0, 2.5])), ("1", "2.5"))]
)
def test_a_mean_is_shown_with_its_groups_by_name(tmp_path, look, kind, group, names):
    written(tmp_path / "a.zarr" / "mean", volumes_of(2), labels=Labels((group,)), product="mean")
    drawn = look(tmp_path / "a.zarr" / "mean", kind=kind, to=tmp_path / "mean.png")
    assert set(names) <= set(drawn.texts)
    assert "a.zarr/mean" in drawn.texts
    assert any(text.endswith("; 2 groups") for text in drawn.texts)
    assert not any("frame" in text for text in drawn.texts)


@pytest.mark.parametrize(
    ("meaning", "kind", "unit", "colours"),
    [
        (AVERAGES, "sheet", "projection (Å⁻¹)", (0.0, None)),
        (AVERAGES, "slices", "voxel (Å⁻²)", (0.0, None)),
        (MAP, "sheet", "projection (value × Å)", (-1, None)),
        (MAP, "slices", "voxel (no unit)", (-1, None)),
    ],
)
def test_units_are_the_stores_and_negative_values_have_a_colour_of_their_own(tmp_path, look, meaning, kind, unit, colours):
    volumes = volumes_of(2, (32, 32, 32))
    volumes[:, 14:18, 14:18, 14:18] = 9.0
    if meaning is MAP:
        volumes[1] *= -1
    written(tmp_path / "a.zarr", volumes, meaning)
    drawn = look(tmp_path / "a.zarr", kind=kind)
    assert unit in drawn.texts
    ((low, high),) = drawn.limits
    assert low == (0.0 if meaning is AVERAGES else -high)
    assert any(text.startswith(meaning.quantity) for text in drawn.texts)
    assert any("ps" in text.split() for text in drawn.texts) == (meaning is AVERAGES)


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_same_command_twice_gives_the_same_bytes(store, tmp_path, ending):
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        preview(store, to=file)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    preview(store, to=files[0])
    assert files[0].read_bytes() == first
    assert sorted(tmp_path.iterdir()) == files


def test_letters_in_pdf_and_svg_are_text(store, tmp_path):
    preview(store, slice(0, 2), to=tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text("utf-8")
    assert all(f">{text}<" in svg for text in ("a.zarr", "frame 1 · 2.5 ps · closed", "projection (Å⁻¹)"))
    preview(store, slice(0, 2), to=tmp_path / "a.pdf")
    streams = re.findall(rb"stream\r?\n(.*?)endstream", (tmp_path / "a.pdf").read_bytes(), re.DOTALL)
    text = b"".join(re.findall(rb"\((.*?)\)", b"".join(map(inflated, streams)))).replace(b"\0", b"")  # two bytes a character
    assert b"frame 1" in text
    assert b"projection" in text


def inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""  # not compressed


def test_without_a_name_the_picture_goes_into_the_runs_folder(store, inside, tmp_path):
    copy = Path(shutil.copytree(store, tmp_path / "b.zarr"))
    (tmp_path / "b.zarr.run").mkdir()
    done = inside("preview", "b.zarr", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "b.zarr.run/preview.png" in done.stdout
    assert "5 of 7, by `state`: 1, 3, 0, 4, 5" in done.stdout
    height, width = matplotlib.image.imread(tmp_path / "b.zarr.run" / "preview.png").shape[:2]
    assert 85 <= width / 200 * 25.4 <= 180.1  # mm
    assert height > 300
    (tmp_path / "link.zarr").symlink_to(copy)
    assert inside("preview", "link.zarr", "--frames", "3", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "link.zarr.run").exists()


REFUSED = {
    "an unknown ending": (("--to", "x.jpg"), "format is not known"),
    "no ending": (("--to", "x"), "no ending"),
    "no folder": (("--to", "no/such/x.png"), "no such folder"),
    "a place in the store": (("--to", "b.zarr/x.png"), "a place inside"),
    "somebody's file": (("--to", "mine.pdf"), "something else is there"),
    "frames that are none": (("--frames", "9:"), "no frame to show"),
    "frames that are not done": (("--frames", "2:7:4"), "frame 2: skipped: an atom at infinity; frame 6: pending"),
    "frames that cannot be read": (("--frames", "all"), "frames cannot be read"),
    "columns of no sheet": (("--kind", "slices", "--columns", "2"), "only a sheet"),
    "too many columns": (("--columns", "40"), "too narrow"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drawn_is_refused_and_nothing_is_left(store, inside, tmp_path, arguments, said):
    shutil.copytree(store, tmp_path / "b.zarr")
    (tmp_path / "b.zarr.run").mkdir()
    (tmp_path / "mine.pdf").write_bytes(b"%PDF-1.7 mine")
    before = sorted(tmp_path.rglob("*"))
    done = inside("preview", "b.zarr", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "where:" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine.pdf").read_bytes() == b"%PDF-1.7 mine"


def test_where_nothing_can_be_put_beside_the_store_a_place_is_asked_for(store, inside, tmp_path, monkeypatch):
    shutil.copytree(store, tmp_path / "b.zarr")
    made = Path.mkdir

    def refused(path, *more, **named):
        if path.name == "b.zarr.run":
            raise PermissionError(13, "Permission denied", str(path))
        made(path, *more, **named)

    monkeypatch.setattr(Path, "mkdir", refused)
    done = inside("preview", "b.zarr", cwd=tmp_path)
    assert done.returncode == 2
    assert "--to preview.png" in done.stderr
    assert inside("preview", "b.zarr", "--to", "x.png", cwd=tmp_path).returncode == 0


def test_more_frames_than_a_page_shows_are_refused_with_a_choice_that_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    written(tmp_path / "a.zarr", np.ones((121, 4, 4, 4), np.float32), until=1)
    with pytest.raises(Refusal) as caught:
        preview(tmp_path / "a.zarr", slice(None))
    (problem,) = caught.value.problems
    assert problem.fix == "--frames 0:121:2"
    assert preview(tmp_path / "a.zarr").frames == (0,)


def test_damage_is_named_and_leaves_no_picture(store, tmp_path):
    path = Path(shutil.copytree(store, tmp_path / "b.zarr"))
    layout = StoreLayout(VoxelGrid((20, 24, 36), H), N, "float32", 1)
    file = layout.shard_file(path, 3)
    data = bytearray(file.read_bytes())
    data[len(data) // 4] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreDamage, match="checksum"):
        preview(path, to=tmp_path / "x.png")
    assert not list(tmp_path.glob("*x.png*"))
    file.write_bytes(data[:-1])
    made = preview(path, slice(2, 5), tmp_path / "x.png")
    assert made.frames == (4,)
    assert made.left_out[1] == "frame 3: shard 3 is not what its record says"
    assert "frame 3: shard 3 is not what its record says" in preview(path, to=tmp_path / "x.png").left_out


def test_help_needs_no_plotting_library():
    code = "import sys; sys.argv = ['cryovox', 'preview', '--help']; from cryovox.pipeline.cli.entry import main; code = main()"
    code += "; print(code, [m for m in ('matplotlib', 'jax', 'zarr') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
