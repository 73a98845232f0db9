"""A run that was refused says so, and leaves what the finished store says of itself."""

import json


def test_a_refused_rerun_is_no_killed_one(tmp_path, cryovox, inside, recipe, quickstart):
    for name in ("adk.pdb", "adk.xtc"):
        (tmp_path / name).write_bytes((quickstart / name).read_bytes())
    path = recipe(h=4.0, more=", frames: {stop: 2}")
    path.write_text(path.read_text().replace(f"{quickstart}/", ""))
    assert cryovox("run", path, "--cluster-set", "workers=1", cwd=tmp_path).returncode == 0
    (tmp_path / "adk.pdb").write_bytes((tmp_path / "adk.pdb").read_bytes() + b"REMARK\n")
    again = inside("run", path, cwd=tmp_path)
    assert again.returncode == 2
    state = json.loads(inside("status", "out.zarr", "--json", cwd=tmp_path).stdout)
    assert (state["run_state"], state["complete"]) == ("refused", True)
