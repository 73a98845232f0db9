"""A run takes its folder as it finds it and leaves nothing secret in it, nor the folder where nothing was begun."""

from cryovox.pipeline.prepare import owned


def test_keys_of_a_killed_run_are_gone_once_the_next_one_owns_the_store(tmp_path):
    keys = tmp_path / "x.zarr.run" / "tls"
    keys.mkdir(parents=True)
    (keys / "key.pem").write_text("secret")
    with owned(tmp_path / "x.zarr") as (folder, _):
        assert not keys.exists()
        assert folder.exists()


def test_a_run_that_begins_nothing_leaves_nothing(tmp_path):
    with owned(tmp_path / "x.zarr") as (folder, _):
        for name in ("slurm", "tls"):
            (folder / name).mkdir()
        (folder / "log.txt").touch()
    assert list(tmp_path.iterdir()) == []


def test_logs_of_jobs_stay(tmp_path):
    (tmp_path / "x.zarr.run" / "slurm").mkdir(parents=True)
    (tmp_path / "x.zarr.run" / "slurm" / "1.log").touch()
    with owned(tmp_path / "x.zarr"):
        pass
    assert (tmp_path / "x.zarr.run" / "slurm" / "1.log").exists()
