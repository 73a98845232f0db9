"""A store drawn in this process, stores made by hand, and a page taken apart."""

import shutil
from collections import defaultdict
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cryovox.pipeline.report import facts as report
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.store import ledger
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, StoreSettings, run_folder
from cryovox.tasks.values import FrameRecord, FrameStatus, ShardRecord
from cryovox.workflows.recipe import TrajectoryRecipe, recipe_hash, store_deciding

RECIPE = TrajectoryRecipe(
    TrajectorySettings("adk.xtc", "adk.pdb", select="name CA", frames=FrameSlice(0, None, 12), align=AlignSettings()),
    StoreSettings("x.zarr"),
    certificate=CertificateSettings(frames=3, voxels=512),
    grid=GridSettings(voxel_size=2.5),
)


class Page(HTMLParser):
    """A page taken apart: tags with their attributes, the text of each element with an id, the rows of tables by section."""

    EMPTY = ("meta", "img", "br", "link", "base", "input")

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = defaultdict(str)
        self.rows: dict[str, list[list[str]]] = defaultdict(list)
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY and not (tag in ("path", "circle", "rect") and self._open[-1][0] == "svg"):
            self._open.append((tag, dict(attrs).get("id")))
        if tag == "tr":
            self.rows[self._section].append([])
        if tag in ("td", "th"):
            self.rows[self._section][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in ("figcaption", "li", "p"):
            self.handle_data("\n")
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for name in {name for _, name in self._open if name}:
            self.text[name] += data
        if any(tag in ("td", "th") for tag, _ in self._open):
            self.rows[self._section][-1][-1] += data

    @property
    def _section(self) -> str:
        return next((name for tag, name in self._open if tag == "section" and name), "")

    def row(self, section: str, head: str) -> list[str]:
        (row,) = [row for row in self.rows[section] if row[0] == head]
        return row[1:]


def page_of(store: Path, command: str = "") -> Page:
    run_folder(store).mkdir(exist_ok=True)
    return Page(report.write(store, run_folder(store), command).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def written() -> Callable[..., Page]:
    """Writes a store's report and takes it apart."""
    return page_of


@pytest.fixture(scope="session")
def apart() -> type[Page]:
    return Page


@pytest.fixture(scope="session")
def number() -> Callable[[str], float]:
    """A number as the page writes it."""

    def read(text: str) -> float:
        plain = text.replace(",", "").replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        mantissa, _, exponent = plain.partition("×10")
        return float(mantissa) * 10.0 ** int(exponent or 0)

    return read


@pytest.fixture(scope="session")
def made(tmp_path_factory, quickstart, carry_out) -> Path:
    """Nine frames of adenylate kinase's Cα atoms, drawn in this process: a finished store. Not to be changed."""
    store = tmp_path_factory.mktemp("report") / "adk.zarr"
    carry_out(RECIPE, quickstart, store)
    return store


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil, with an empty run folder."""
    run_folder(tmp_path / "adk.zarr").mkdir()
    return Path(shutil.copytree(made, tmp_path / "adk.zarr"))


@pytest.fixture(scope="session")
def attributes_of() -> Callable[..., dict[str, Any]]:
    """What a store of such a recipe, from files of such names, keeps in its attributes."""

    def of(recipe, names: list[str], **facts) -> dict[str, Any]:
        sources = [{"name": name, "size": 5, "digest": "sha256:0"} for name in names]
        kept = {"recipe": store_deciding(recipe), "recipe_hash": recipe_hash(recipe), "sources": sources}
        return {**kept, "notes": [], "convention": "c; axes", "versions": {"cryovox": "0.1.0"}, **facts}

    return of


@pytest.fixture(scope="session")
def commit() -> Callable[..., None]:
    """Commits records of shards that hold only zeros, and so have no file."""
    fields = {
        "status": FrameStatus.DONE, "rotation": ((1.0, 0.0, 0.0),) * 3, "translation": (0.0, 0.0, 0.0), "min": 0.0, "max": 2.0,
        "scale": 9.0, "lost": 0.0, "source": 0,
    }  # fmt: skip

    def write(path: Path, layout: StoreLayout, shards=None, engine: str = "none", **changes) -> None:
        for shard in shards or range(layout.n_shards):
            frames = layout.frames_of(shard)
            each = [{"source_frame": i, "time": float(i), "sum": 1.0 + i, "mass": 8.0 + 8 * i} for i in frames]
            records = tuple(FrameRecord(**{**fields, **own, **changes}) for own in each)
            ledger.commit(Writer.begin(path, "run"), layout, ShardRecord(shard, frames.start, records, 0, "", engine))

    return write
