"""The page loads nothing, runs nothing and hides nothing, whatever it is made of: stores and histories made by hand."""

import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.documents.strict_yaml import read as read_yaml
from cryovox.pipeline.report import facts as report
from cryovox.pipeline.report import history
from cryovox.pipeline.report import text as report_text
from cryovox.pipeline.report.page import page
from cryovox.tasks.ensemble.decoded import DecoderSettings
from cryovox.tasks.ensemble.maps import MapSettings
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import MAP, StoreLayout, StoreSettings, run_folder
from cryovox.tasks.values import Accuracy, FrameStatus
from cryovox.workflows.provenance import ON_CARDS, PACKAGES
from cryovox.workflows.recipe import DecoderRecipe, MapRecipe, TrajectoryRecipe, recipe_hash

RECIPE = TrajectoryRecipe(TrajectorySettings("b.xtc", "a.pdb", align=AlignSettings()), StoreSettings("x.zarr"))
EVIL = "<script>alert('1')</script><img src=http://evil.example/x onerror=alert(1)>\"'&\x1b[31m\u202e\ud800"


def test_it_loads_nothing_and_runs_nothing(made, written):
    assert_inert(written(made))


def assert_inert(seen):
    tags = {tag for tag, _ in seen.tags}
    assert not tags & {"script", "link", "base", "iframe", "object", "embed", "form", "audio", "video", "source", "use"}
    for _, attributes in seen.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert {"srcset", "data", "action", "poster", "background", "xlink:href"}.isdisjoint(attributes)
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert attributes.get("href", "#").startswith("#")
    targets = {attributes["id"] for _, attributes in seen.tags if "id" in attributes}
    assert {attributes["href"][1:] for _, attributes in seen.tags if "href" in attributes} <= targets


def test_its_style_fetches_nothing_and_its_policy_forbids_it(made):
    text = (run_folder(made) / "report.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "@media print" in style
    assert '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src' in text


def evil_store(folder: Path, attributes_of, commit) -> Path:
    """A store in which every text that somebody else wrote is an attack."""
    layout = StoreLayout(VoxelGrid((16, 16, 16), 2.0), 3, "float32")
    path = folder / "<img src=x onerror=alert(1)>.zarr"
    ours = attributes_of(RECIPE, [EVIL, EVIL], n_atoms=5)
    text = EVIL.encode("utf-8", "backslashreplace").decode()  # JSON files hold no lone surrogate
    ours["recipe"]["ensemble"]["select"] = ours["recipe"]["scattering"]["table"] = text
    ours |= {"notes": [text], "versions": {text: text}, "convention": text, "recipe_hash": text}
    ours["sources"] = [{"name": text, "size": 5, "digest": text}] * 2
    template.create(Writer.begin(path, "run"), template.Beginning(layout, ours))
    commit(path, layout, status=FrameStatus.FAILED, reason=EVIL, engine=text)
    return path


def test_nothing_can_be_injected(tmp_path, written, attributes_of, commit):
    path = evil_store(tmp_path, attributes_of, commit)
    folder = run_folder(path)
    run = {"state": EVIL, "reason": f"{EVIL}\n{EVIL}", "host": EVIL, "slurm_job": EVIL, "seconds": {EVIL: 1.0}, "done": 1}
    history.append(folder, {**run, "warnings": [{"at": None, "text": EVIL}]})
    with (folder / history.FILE).open("a") as file:
        file.write("<script>\n")
    seen = written(path, f"cryovox run {EVIL}")
    assert_inert(seen)
    for section in ("failures", "runs", "warnings", "provenance", "time", "recipe"):
        assert "<script>alert('1')</script><img src=http://evil.example/x onerror=alert(1)>" in seen.text[section]
    everything = (folder / "report.html").read_bytes()
    assert b"\x1b" not in everything
    assert "\u202e" not in everything.decode("utf-8")  # it would turn the text after it around


def test_a_store_that_has_only_begun_has_a_report(tmp_path, written, attributes_of):
    path, layout = tmp_path / "b.zarr", StoreLayout(VoxelGrid((16, 16, 16), 2.0), 40, "float16")
    template.create(Writer.begin(path, "run"), template.Beginning(layout, attributes_of(RECIPE, ["a.pdb", "b.xtc"], n_atoms=5)))
    seen = written(path)
    assert seen.text["mark"] == "not complete: 40 pending"
    for section, words in {
        "pictures": "no frame to show",
        "frames": "No frame is done",
        "certificate": "No frame has been compared",
        "time": "No run has left its times",
        "runs": "No run has left its line",
        "warnings": "None.",
    }.items():
        assert words in seen.text[section]


def test_a_map_has_no_mass_and_no_unit(tmp_path, written, commit, attributes_of):
    path, layout = tmp_path / "m.zarr", StoreLayout(VoxelGrid((16, 16, 16), 2.0), 4, "float32")
    recipe = MapRecipe(MapSettings("m.mrc"), StoreSettings("m.zarr"), poses=PoseSettings(random=True, count=4))
    ours = attributes_of(recipe, ["m.mrc"], map_shape=[16, 16, 16], map_voxel_size=2.0)
    template.create(Writer.begin(path, "run"), template.Beginning(layout, {**ours, "convention": MAP.convention}, MAP))
    nan = float("nan")
    commit(path, layout, mass=nan, scale=nan, lost=nan, time=nan, accuracy=Accuracy(1.0, 1e12, 1.0, 1e6, 10))
    closing.finish(Writer.begin(path, "run"), layout, {"certificate": {**certificate(), "mass_error": None, "lost": None}}, MAP)
    seen = written(path)
    assert seen.text["summary"].startswith("4 of 4 poses of m.mrc are drawn")
    assert "mass" not in seen.text["summary"] + seen.text["certificate"]
    assert "Mass error" not in seen.text["frames"]
    assert "Largest value" in seen.text["frames"]
    assert " ps" not in seen.text["pictures"]
    assert "in the map's units" in seen.text["pictures"]
    assert not any(row[0] in ("in volts", "atoms a frame") for row in seen.rows["figures"])
    assert seen.row("figures", "the map") == ["16 × 16 × 16 voxels (z, y, x) of 2 Å"]


def certificate() -> dict:
    errors = {"relative_l2": 1e-6, "largest_error": 1e-6, "mass_error": 2e-7, "lost": 0.25}
    return {"frames": 4, "voxels": 40, **errors, "tolerance": 1e-5, "limit": 1e-4, "against": "an oracle"}


def test_skipped_and_failed_frames_are_named_the_first_hundred_of_them(tmp_path, written, commit, attributes_of):
    path, layout = tmp_path / "s.zarr", StoreLayout(VoxelGrid((16, 16, 16), 2.0), 150, "float32")
    template.create(Writer.begin(path, "run"), template.Beginning(layout, attributes_of(RECIPE, ["a.pdb", "b.xtc"], n_atoms=5)))
    commit(path, layout, range(2))
    commit(path, layout, range(2, 30), status=FrameStatus.FAILED, reason="two atoms in one place")
    commit(path, layout, range(30, layout.n_shards), status=FrameStatus.SKIPPED, reason="NaN in its coordinates", source_frame=7)
    closing.finish(Writer.begin(path, "run"), layout, {"certificate": certificate()})
    k = layout.frames_per_shard
    seen = written(path)
    assert seen.text["mark"] == f"complete without {150 - 2 * k} frames"
    assert seen.row("figures", "frames") == [f"0 pending, {2 * k} done, {150 - 30 * k} skipped, {28 * k} failed"]
    assert f"frame {2 * k}, failed: two atoms in one place" in seen.text["failures"]
    assert f"frame {30 * k} (7 of its source), skipped: NaN in its coordinates" in seen.text["failures"]
    assert seen.text["failures"].count(": two atoms") + seen.text["failures"].count(": NaN in") == 100
    assert f"and {150 - 2 * k - 100} more" in seen.text["failures"]
    assert "25.0% of a frame's mass lies outside" in seen.text["summary"]
    assert f"{150 - 30 * k} frames were skipped and {28 * k} failed." in seen.text["summary"]


def test_every_run_has_a_line_and_the_totals_are_theirs(store, written):
    folder = run_folder(store)
    common = {"frames": 9, "host": "node7", "workers": 4}
    runs = [
        {"state": "interrupted", "reason": "SIGUSR1", "slurm_job": "11", "began": 0.0, "updated": 60.0, "before": 0, "done": 4},
        {"state": "killed", "slurm_job": "12", "began": 86400.0, "updated": 86460.0, "before": 4, "done": 6, "workers_gone": 2},
        {
            "state": "crashed",
            "reason": "Traceback:\n  in f\nKeyError: 5",
            "began": 90000.0,
            "updated": 90001.0,
            "before": 6,
            "done": 6,
        },
        {"state": "finished", "began": 172800.0, "updated": 172890.0, "before": 6, "done": 9, "frames_per_second": 0.5},
    ]
    for i, run in enumerate(runs):
        spent = {"read": 1.0, "render": 2.0 + i, "check": 0.0, "write": 0.5}
        warnings = [{"at": 86401.0, "text": "worker 3 went"}] if i == 1 else []
        history.append(
            folder, {**common, **run, "bytes": 1000, "seconds": spent, "warnings": warnings, "n_warnings": 3 * len(warnings)}
        )
    with (folder / history.FILE).open("a") as file:
        file.write('{"state": "fini')
    seen = written(store)
    assert seen.row("runs", "1") == [
        "1970-01-01 00:00 UTC",
        "1 min 00 s",
        "node7",
        "11",
        "4",
        "4",
        "0.067",
        "1.0 kB",
        "interrupted: SIGUSR1",
    ]
    assert seen.row("runs", "2")[4:] == ["4, 2 went", "2", "0.033", "1.0 kB", "killed"]
    assert seen.row("runs", "3")[5:] == ["0", "–", "1.0 kB", "crashed: KeyError: 5"]
    assert "Four runs, 3 min 31 s together: nine frames made, 4.0 kB written, two workers came and went." in seen.text["runs"]
    assert "line 5 of history.jsonl cannot be read" in seen.text["runs"]
    assert "in f\nKeyError: 5" in seen.text["runs"]
    assert seen.row("time", "render") == ["14.00", "70.0%", f"{14e3 / 9:,.2f}"]
    assert seen.row("time", "together") == ["20.00", "100.0%", f"{20e3 / 9:,.2f}"]
    assert "1970-01-02 00:00 UTC, run 2: worker 3 went" in seen.text["warnings"]
    assert "and 2 more" in seen.text["warnings"]
    assert "0.043 /s" in seen.text["figures"]
    assert seen.row("figures", "speed at last") == ["0.500 frames/s with four workers"]
    assert "four runs worked on it, 3 min 31 s together" in seen.text["summary"].replace("\xa0", " ")


def test_runs_of_a_store_that_is_gone_are_told_from_its_own(store, written):
    folder = run_folder(store)
    history.append(folder, {"state": "finished", "frames": 9, "done": 9, "bytes": 7000})
    history.begin_anew(folder)
    history.append(folder, {"state": "finished", "frames": 9, "done": 9, "bytes": 1000})
    text = written(store).text["runs"]
    assert "One run, 0 s together: nine frames made, 1.0 kB written. " in text
    assert "One run before made a store that is gone." in text


CARD = "bricks/xla/float32 nvcomp-zstd"


@pytest.mark.parametrize(
    ("engines", "said", "not_said"),
    [
        (("bricks/numba/float32",), "the store has the same bytes", "card"),
        ((CARD,), "the voxels are the same; elsewhere they agree within the tolerance. A card compressed bricks", "same bytes"),
        (("bricks/xla/float32", CARD), "the voxels are the same", "same bytes"),
        (("bricks/numba/float32", CARD), "bricks/numba/float32 and bricks/xla/float32 made it", "same"),
        ((), "The voxels agree within the tolerance.", "same"),
    ],
)
def test_what_repeating_gives_is_not_promised_beyond_what_made_the_store(made, engines, said, not_said):
    words, _ = report_text.repeating(replace(report.gather(made, run_folder(made)), engines=engines))
    promise = words.partition("these versions. ")[2]
    assert said in promise
    assert not_said not in promise


def test_the_lines_that_repeat_a_store_pin_all_that_takes_part_and_was_there(made):
    gathered = report.gather(made, run_folder(made))
    there = dict.fromkeys((*PACKAGES, *ON_CARDS), "1.2") | {"python": "3.11.2"}
    del there["cupy-cuda13x"]
    _, lines = report_text.repeating(replace(gathered, attributes={**gathered.attributes, "versions": there}))
    pins = lines.splitlines()[0].split()[2:]
    assert set(pins) == {f"{name}==1.2" for name in there if name != "python"}
    assert "cupy-cuda12x==1.2" in pins


@pytest.mark.parametrize(("accepted", "wanted"), [(0.02, "the recipe accepts 0.020"), (1e-6, "1.0×10⁻⁵ was asked for")])
def test_an_error_that_the_recipe_accepts_is_what_it_is_held_against(made, accepted, wanted):
    gathered = report.gather(made, run_folder(made))
    recipe = gathered.attributes["recipe"]
    recipe = {**recipe, "render": {**recipe["render"], "accept_error": accepted}}
    text = report_text.summary(replace(gathered, attributes={**gathered.attributes, "recipe": recipe}))
    assert re.search(rf"relative L2 error \S+, where {wanted}\.", text)


KINDS = {
    "trajectory": (RECIPE, ["adk.pdb", "adk.xtc"], {"n_atoms": 214}),
    "awkward": (
        replace(
            RECIPE,
            ensemble=replace(RECIPE.ensemble, select='resname "A\\"B" or name C* # : [x]', elements={"CAL": "Ca", "no": "N"}),
            poses=PoseSettings(table="p.csv"),
        ),
        ["a b.pdb", "true.xtc", "1e5"],
        {"n_atoms": 1},
    ),
    "map": (
        MapRecipe(MapSettings("m.mrc"), StoreSettings("x"), poses=PoseSettings(random=True, count=3)),
        ["m.mrc"],
        {"map_shape": [4, 4, 4], "map_voxel_size": 1.0},
    ),
    "decoder": (
        DecoderRecipe(
            DecoderSettings("net:Decoder", {"a": 1, "s": "null"}, {"weights": "w.pt", "a": "t.pdb"}, {"z": "z.npy"}, None, 3),
            StoreSettings("x"),
        ),
        ["net.py", "t.pdb", "w.pt", "z.npy"],
        {"parametrization": "net:Decoder"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_it_shows_is_a_recipe_that_makes_the_same_store(made, apart, tmp_path, kind, attributes_of):
    recipe, names, facts = KINDS[kind]
    gathered = report.gather(made, run_folder(made))
    ours = {**gathered.attributes, **attributes_of(recipe, names)}
    del ours["n_atoms"]
    text = apart(page(replace(gathered, attributes={**ours, **facts}))).text["recipe"]
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    found = load_recipe(tmp_path / "recipe.yaml").recipe
    assert recipe_hash(found) == recipe_hash(recipe)
    inputs = [v for section in ("ensemble", "poses") for v in (read_yaml(text, "")[0][section] or {}).items()]
    for name in names[1:] if kind == "decoder" else names:
        assert name in str(inputs)
    assert found.store.path == "adk.zarr"


def test_every_record_is_read_once_and_the_page_stays_small(tmp_path, monkeypatch, written, commit, attributes_of):
    path, layout = tmp_path / "l.zarr", StoreLayout(VoxelGrid((256, 256, 256), 1.0), 3_000, "float32")
    template.create(Writer.begin(path, "run"), template.Beginning(layout, attributes_of(RECIPE, ["a.pdb"] * 2000, n_atoms=5)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        commit(path, layout, status=FrameStatus.DONE, accuracy=Accuracy(1e-12, 1.0, 1e-6, 1.0, 9), reason="r" * 300)
        commit(path, layout, range(50, 100), status=FrameStatus.SKIPPED, reason="<" * 300)
    for _ in range(400):
        warnings = [{"at": 1.0, "text": "w" * 1000}] * 20
        history.append(run_folder(path), {"state": "crashed", "reason": "r\n" * 5000, "warnings": warnings, "n_warnings": 50})
    reads: dict[int, int] = defaultdict(int)
    read = ledger.read

    def counted(store, layout, shard):
        reads[shard] += 1
        return read(store, layout, shard)

    monkeypatch.setattr(ledger, "read", counted)
    seen = written(path)
    assert set(reads) == set(range(layout.n_shards))
    assert sum(reads.values()) <= layout.n_shards + 2 * report.SHOWN
    assert seen.row("figures", "frames") == ["0 pending, 2,200 done, 800 skipped, 0 failed"]
    assert (run_folder(path) / "report.html").stat().st_size < 3e6
    assert len([row for row in seen.rows["runs"] if row[-1].startswith("crashed")]) == report.NAMED
    assert "400 runs" in seen.text["runs"].lower()


def test_what_is_no_store_has_no_report(tmp_path):
    with pytest.raises(Refusal):
        report.write(tmp_path / "nothing.zarr", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_both_scattering_tables_are_cited():
    from cryovox.tasks.scattering.tables import TABLES

    assert set(report_text.TABLES) == set(TABLES)
    for name, table in TABLES.items():
        volume = re.search(r"Acta Cryst\. (A\d+)", report_text.TABLES[name])[1]
        assert volume in table.__doc__
