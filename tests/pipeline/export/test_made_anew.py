"""A store that was made anew under an export: its volumes are written again, or the export stops; none is mixed."""

import shutil

import mrcfile
import numpy as np
import pytest


@pytest.mark.parametrize("options", [(), ("--stack",)])
def test_volumes_of_other_bytes_are_written_again_and_said(tiny_of, done, tmp_path, inside, digests, options):
    made = tiny_of(tmp_path / "a.zarr")
    assert inside("export", made.path, "--to", "out", *options, cwd=tmp_path).returncode == 0
    shutil.rmtree(made.path)
    other = tiny_of(tmp_path / "a.zarr", factor=2.0)  # of the same recipe and sources
    again = inside("export", other.path, "--to", "out", *options, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{len(done)} of them written again: the store was made anew" in again.stdout
    assert "there already" not in again.stdout
    assert inside("export", other.path, "--to", "fresh", *options, cwd=tmp_path).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")
    third = inside("export", other.path, "--to", "out", *options, cwd=tmp_path)
    assert f"{len(done)} of them there already" in third.stdout
    assert "written again" not in third.stdout


def test_a_volume_whose_frame_is_not_done_any_more_is_taken_away(tiny_of, done, tmp_path, inside):
    made = tiny_of(tmp_path / "a.zarr")
    assert inside("export", made.path, "--to", "out", cwd=tmp_path).returncode == 0
    (tmp_path / "out" / "volumes" / "frame_000099.mrc").write_bytes(b"mine")
    (made.path / "ledger" / f"c.{done[-1]}.0").unlink()
    again = inside("export", made.path, "--to", "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "1 of an earlier export taken away" in again.stdout
    left = [f"frame_{frame:06}.mrc" for frame in done[:-1]]
    assert sorted(file.name for file in (tmp_path / "out" / "volumes").iterdir()) == [*left, "frame_000099.mrc"]


@pytest.mark.parametrize("change", [{"factor": 2.0}, {"shape": (12, 9, 11)}, {"until": 3}], ids=str)
def test_a_store_that_is_made_anew_in_between_ends_the_export(tiny_of, tmp_path, inside, monkeypatch, change):
    from cryovox.pipeline.export import maps

    made = tiny_of(tmp_path / "a.zarr")
    write, written = maps.write_array_to_mrc, []

    def struck(*arguments, **words):
        write(*arguments, **words)
        written.append(arguments[2])
        if len(written) == 2:
            shutil.rmtree(made.path)
            tiny_of(made.path, **change)

    monkeypatch.setattr(maps, "write_array_to_mrc", struck)
    done = inside("export", made.path, "--to", "out", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "made anew" in done.stderr
    assert [file.name for file in sorted((tmp_path / "out" / "volumes").iterdir())] == ["frame_000000.mrc", "frame_000001.mrc"]
    for frame in (0, 1):
        np.testing.assert_array_equal(mrcfile.read(tmp_path / "out" / "volumes" / f"frame_{frame:06}.mrc"), made.volumes[frame])
    assert not (tmp_path / "out" / "frames.csv").exists()
