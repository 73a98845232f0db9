"""A pose turns the placed object about the box centre and then moves it: by the table's rows, or at random by seed and frame."""

import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.transform import Rotation

import cryovox
from cryovox.tasks.ensemble.placement import place, placement_on, posed
from cryovox.tasks.ensemble.pose_table import LARGEST
from cryovox.tasks.ensemble.poses import Poses, PoseSettings, RandomPoses, TabulatedPoses, open_poses
from cryovox.tasks.ensemble.sources import identify
from cryovox.tasks.errors import Refusal
from cryovox.tasks.values import FrameBatch, RawFrames

STATED = {  # volumes.md §2 and F3
    (10, 20, 30): [
        [0.71461018, -0.63371836, 0.29619813],
        [0.61309202, 0.77128058, 0.17101007],
        [-0.33682409, 0.05939117, 0.93969262],
    ],
    (27, 63, -41): [
        [0.603131, 0.42900167, 0.67245116],
        [0.07724953, 0.80766976, -0.58455288],
        [-0.79389263, 0.4045085, 0.4539905],
    ],
}
angles = st.floats(-720, 720, allow_subnormal=False)


@pytest.fixture
def opened(tmp_path):
    """Poses of a table with this text."""

    def read(text: str | bytes, n_frames: int | None = None, **more) -> Poses:
        (tmp_path / "poses.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return open_poses(PoseSettings(table="poses.csv", **more), tmp_path, n_frames)[0]

    return read


@pytest.fixture
def refused(opened):
    """(place, problem) of each thing wrong with a table; its file is left out of the place."""

    def read(text: str | bytes, n_frames: int | None = None, **more):
        with pytest.raises(Refusal) as caught:
            opened(text, n_frames, **more)
        return [(problem.where.rpartition("poses.csv")[2], problem) for problem in caught.value.problems]

    return read


def batch(f: int = 4, m: int = 7, seed: int = 0) -> FrameBatch:
    rng = np.random.default_rng(seed)
    positions = rng.normal(scale=15, size=(f, m, 3)).astype(np.float32) + np.float32(40)
    raw = RawFrames(np.arange(f) * 2, np.arange(f) * 1.5, positions, np.zeros((f, 3, 3)))
    return place(np.arange(f), raw, placement_on(positions[0].astype(float), np.arange(m), center=True))


@pytest.mark.parametrize("euler", STATED)
def test_euler_angles_of_a_table_give_the_stated_matrix(opened, euler):
    rotations, offsets = opened("phi,theta,psi\n{},{},{}\n".format(*euler)).of(np.zeros(1, np.int64))
    np.testing.assert_allclose(rotations[0], STATED[euler], atol=1e-8)
    np.testing.assert_array_equal(offsets, np.zeros((1, 3)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(angles, angles, angles), min_size=1, max_size=5))
def test_euler_angles_are_about_fixed_axes_z_y_z(tmp_path_factory, rows):
    """Scipy's lower-case axes are fixed ones, turned about in the order written."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "p.csv").write_text("phi,theta,psi\n" + "".join(f"{a!r},{b!r},{c!r}\n" for a, b, c in rows))
    poses, _ = open_poses(PoseSettings(table="p.csv"), folder, len(rows))
    expected = Rotation.from_euler("zyz", rows, degrees=True).as_matrix()
    np.testing.assert_allclose(poses.of(np.arange(len(rows)))[0], expected, atol=1e-12)


def test_quaternions_are_scalar_first_and_normalised_where_they_are_rounded(opened):
    exact = Rotation.random(20, rng=np.random.default_rng(1))
    rows = "".join(",".join(f"{c:.4f}" for c in q) + "\n" for q in exact.as_quat(scalar_first=True))
    rotations, _ = opened("qw,qx,qy,qz\n" + rows).of(np.arange(20))
    np.testing.assert_allclose(rotations, exact.as_matrix(), atol=3e-4)
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (20, 1, 1)), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_a_table_and_the_librarys_poses_say_the_same(opened):
    angles = opened("phi,theta,psi,x,y,z\n27,63,-41,1,-2,3.5\n")
    quaternion = opened("z,qw,qx,qy,qz,x,y\n3.5,0.5,-0.5,0.5,0.5,1,-2\n")
    of_angles = cryovox.EulerAnglePose(27, 63, -41, offset=(1, -2, 3.5))
    of_quaternion = cryovox.QuaternionPose([0.5, -0.5, 0.5, 0.5], offset=(1, -2, 3.5))
    for poses, pose in ((angles, of_angles), (quaternion, of_quaternion)):
        (rotation,), (offset,) = poses.of(np.zeros(1, np.int64))
        np.testing.assert_allclose(rotation, pose.rotation(), atol=1e-14)
        np.testing.assert_array_equal(offset, pose.offset)


def test_comments_blank_lines_spaces_quotes_and_windows_lines_change_nothing(opened):
    plain = opened("phi,theta,psi\n1,2,3\n4,5,6\n")
    dressed = opened('# made by hand\r\n\r\n phi, "theta",psi \r\n1, 2,3\r\n# half\r\n  # way\r\n"4",5 , 6')
    for one, other in zip(plain.of(np.arange(2)), dressed.of(np.arange(2)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert dressed.n == 2


def test_the_table_is_a_source_of_the_volumes(opened, tmp_path):
    opened("phi,theta,psi\n1,2,3\n")
    poses, (source,) = open_poses(PoseSettings(table="poses.csv"), tmp_path, 1)
    assert (source.name, source.digest) == ("poses.csv", identify(tmp_path / "poses.csv").digest)
    assert poses.n == 1
    assert open_poses(PoseSettings(random=True), tmp_path, 5)[1] == ()


def test_a_posed_frame_is_its_source_by_the_composed_rotation_and_translation():
    placed = batch()
    poses = RandomPoses(None, 3, 5.0)
    turned = posed(placed, poses)
    p, offset = poses.of(placed.frames)
    source = np.einsum("fji,fnj->fni", placed.rotations, placed.positions - placed.translations[:, None])
    again = np.einsum("fij,fnj->fni", turned.rotations, source) + turned.translations[:, None]
    np.testing.assert_allclose(turned.positions, again, atol=1e-10)
    for i in range(4):
        np.testing.assert_allclose(turned.positions[i], placed.positions[i] @ p[i].T + offset[i], atol=1e-12)
        np.testing.assert_allclose(turned.rotations[i], p[i] @ placed.rotations[i], atol=1e-14)
        np.testing.assert_allclose(turned.translations[i], p[i] @ placed.translations[i] + offset[i], atol=1e-12)
    for same in ("frames", "source_frames", "times"):
        np.testing.assert_array_equal(getattr(turned, same), getattr(placed, same))


@pytest.mark.parametrize("kind", ["table", "random"])
def test_a_frame_has_the_same_bytes_in_any_batch_and_order(opened, kind):
    f = 33
    rows = np.random.default_rng(5).uniform(-180, 180, (f, 6))
    poses = opened("phi,theta,psi,x,y,z\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()))
    if kind == "random":
        poses = RandomPoses(None, 7, 2.0)
    whole = posed(batch(f), poses)
    for chosen in (np.arange(f)[::-1], np.array([17]), np.array([5, 2, 29])):
        part = batch(f)
        part = FrameBatch(*(getattr(part, field)[chosen] for field in FrameBatch.__dataclass_fields__))
        turned = posed(part, pickle.loads(pickle.dumps(poses)))
        for field in ("positions", "rotations", "translations"):
            assert getattr(turned, field).tobytes() == getattr(whole, field)[chosen].tobytes()


def test_random_poses_differ_by_frame_and_seed_and_shift_leaves_the_rotations():
    frames = np.arange(50)
    rotations, offsets = RandomPoses(50, 1, 4.0).of(frames)
    assert len(np.unique(rotations[:, 0, 0])) == len(np.unique(offsets[:, 0])) == 50
    np.testing.assert_array_equal(RandomPoses(9, 1, 0.0).of(frames)[0], rotations)
    assert not np.isclose(RandomPoses(50, 2, 4.0).of(frames)[0], rotations).all(axis=(1, 2)).any()
    assert not RandomPoses(50, 1, 0.0).of(frames)[1].any()


def test_random_rotations_are_uniform():
    """Of a uniformly distributed rotation any column is a point of the sphere, and its angle ω has density (1 - cos ω)/π."""
    n = 4000
    rotations, _ = RandomPoses(n, 0, 0.0).of(np.arange(n))
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (n, 1, 1)), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-13)
    assert np.abs(rotations.mean(axis=0)).max() < 4 / np.sqrt(3 * n)
    angles = Rotation.from_matrix(rotations).magnitude()
    assert stats.kstest(angles, lambda w: (w - np.sin(w)) / np.pi).pvalue > 0.01
    for column in range(3):
        assert stats.kstest(rotations[:, 2, column], stats.uniform(-1, 2).cdf).pvalue > 0.01
        longitude = np.arctan2(rotations[:, 1, column], rotations[:, 0, column])
        assert stats.kstest(longitude, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01


def test_random_offsets_fill_the_ball():
    n, radius = 4000, 3.0
    _, offsets = RandomPoses(n, 0, radius).of(np.arange(n))
    lengths = np.linalg.norm(offsets, axis=1)
    assert lengths.max() < radius
    assert stats.kstest((lengths / radius) ** 3, "uniform").pvalue > 0.01
    assert np.abs(offsets.mean(axis=0)).max() < 4 * radius / np.sqrt(5 * n)


def test_a_map_has_as_many_frames_as_poses_and_an_ensemble_one_pose_each(opened, tmp_path):
    rows = "phi,theta,psi\n" + "0,0,0\n" * 5
    assert isinstance(opened(rows), TabulatedPoses)
    assert opened(rows).n == opened(rows, 5).n == 5
    assert open_poses(PoseSettings(random=True, count=12), tmp_path, None)[0].n == 12
    assert open_poses(PoseSettings(random=True), tmp_path, 12)[0].n is None
    with pytest.raises(IndexError):
        opened(rows).of(np.array([5]))


def test_a_hundred_thousand_rows_take_seconds_and_little_room(opened):
    rows = np.random.default_rng(0).uniform(-180, 180, (100_000, 6)).round(3).tolist()
    text = "phi,theta,psi,x,y,z\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    start = time.process_time()
    poses = opened(text, 100_000)
    assert time.process_time() - start < 15  # of a slow, loaded machine
    assert len(pickle.dumps(poses)) < 6e6


CONFLICTS = {
    "both": ({"table": "p.csv", "random": True}, None, ["poses.random", "poses.table"]),
    "neither": ({}, 5, ["poses"]),
    "neither with a count": ({"count": 3}, None, ["poses"]),
    "count of an ensemble": ({"random": True, "count": 3}, 5, ["poses.count"]),
    "no count of a map": ({"random": True}, None, ["poses.count"]),
    "random keys with a table": (
        {"table": "p.csv", "count": 3, "seed": 1, "shift": 2.0},
        None,
        ["poses.count", "poses.seed", "poses.shift", "poses.table"],
    ),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_keys_that_contradict_each_other_are_refused_together_with_the_tables_problems(tmp_path, name):
    keys, n_frames, places = CONFLICTS[name]
    with pytest.raises(Refusal) as caught:
        open_poses(PoseSettings(**keys), tmp_path, n_frames)
    assert [problem.where.partition(":")[0] for problem in caught.value.problems] == places
    assert all(problem.fix or problem.wanted for problem in caught.value.problems)


HEADERS = {
    "rot,tilt,psi": ["unknown column `rot`", "unknown column `tilt`", "the column `phi`", "the column `theta`"],
    "Phi,theta,psi": ["unknown column `Phi`"],
    "phi,theta,psi,name": ["unknown column `name`"],
    "phi,theta,psi,qw,qx,qy,qz": ["the table of poses has both"],
    "x,y,z": ["the table of poses has no rotations"],
    "phi,theta,psi,x,y": ["the column `z` is missing"],
    "qw,qx,qz": ["the column `qy` is missing"],
    "phi,theta,psi,psi": ["the column `psi` is there twice"],
    "phi;theta;psi": ["the columns are not separated by commas"],
    "phi theta psi": ["the columns are not separated by commas"],
    "10,20,30": ["the table of poses has no header"],
    "phi,theta,psi,": ["unknown column ``"],
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_bad_header_is_refused_naming_its_columns(refused, header):
    problems = refused(f"# by hand\n{header}\n1,2,3\n", 1)
    assert [place for place, _ in problems] == [":2"] * len(HEADERS[header])
    for (_, problem), what in zip(problems, HEADERS[header], strict=True):
        assert problem.what.startswith(what)
        assert "phi,theta,psi" in problem.wanted or problem.got


def test_a_column_that_is_nearly_right_is_told_its_name(refused):
    ((_, problem),) = refused("phi,teta,psi\n1,2,3\n")
    assert problem.fix == "did you mean `theta`?"


ROWS = {
    "1,2": ("too few cells", "2"),
    "1,2,3,4": ("too many cells", "4"),
    "1,5,2,0": ("too many cells", "4"),
    "1,,3": ("bad value for `theta`", "an empty cell"),
    "1,abc,3": ("bad value for `theta`", "`abc`"),
    "1,2,nan": ("bad value for `psi`", "`nan`"),
    "inf,2,3": ("bad value for `phi`", "`inf`"),
    "1,2,1e999": ("bad value for `psi`", "`1e999`"),
    "1_0,2,3": ("bad value for `phi`", "`1_0`"),
    "1,2,0x10": ("bad value for `psi`", "`0x10`"),
    '1,2,"3': ("a row cannot be read", ""),
    '1,2,"3\n4,5,6"': ("a row cannot be read", ""),
    '1,2,"3"4': ("a row cannot be read", ""),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_bad_row_is_refused_at_its_line(refused, row):
    what, got = ROWS[row]
    ((place, problem),) = refused(f"phi,theta,psi\n0,0,0\n# comment\n{row}\n")
    assert place == ":4"
    assert what in problem.what
    assert got in problem.got
    assert problem.wanted


@pytest.mark.parametrize(
    ("row", "got"), [("1.002,0,0,0", "1.002"), ("0,0,0,0", "0"), ("1e200,0,0,0", "inf"), ("1,1,0,0", "1.41421")]
)
def test_a_quaternion_that_is_no_rotation_is_refused(refused, row, got):
    ((place, problem),) = refused(f"qw,qx,qy,qz\n1,0,0,0\n{row}\n0.9995,0,0,0\n")
    assert place == ":3"
    assert problem.what == "a quaternion is not of length 1"
    assert problem.got == f"length {got}"


def test_every_problem_is_told_at_once_in_order(refused):
    problems = refused("qw,qx,qy,qz\n1,0,0\n2,0,0,0\nx,y,0,0\n", 4, count=3)
    assert [place for place, _ in problems] == ["poses.count", "", ":2", ":3", ":4", ":4"]
    assert (problems[1][1].got, problems[1][1].wanted) == ("3 rows", "4, one a frame")


def test_of_a_thousand_problems_ten_are_told_and_the_rest_counted(refused):
    problems = refused("phi,theta,psi\n" + "a,0,0\n" * 1000)
    assert [place for place, _ in problems[:-1]] == [f":{n}" for n in range(2, 12)]
    assert "990 more" in problems[-1][1].what


@pytest.mark.parametrize("text", ["# nothing\n\n", "phi,theta,psi\n# none\n"])
@pytest.mark.parametrize("n_frames", [None, 3])
def test_a_table_without_rows_is_refused(refused, text, n_frames):
    ((_, problem),) = refused(text, n_frames)
    assert "empty" in problem.what or "no rows" in problem.what


@pytest.mark.parametrize(
    ("data", "place", "got"),
    [
        ("phi,theta,psi\n".encode("utf-16"), ":1", "UTF-16"),
        (b"phi,theta,psi\n1,2,3\n# \xc5\n", ":3", "0xc5"),
    ],
)
def test_a_table_that_is_not_utf8_is_refused(refused, data, place, got):
    ((where, problem),) = refused(data)
    assert where == place
    assert got in problem.got
    assert "UTF-8" in problem.wanted


def test_a_table_that_is_too_large_is_refused_without_reading_it(tmp_path):
    with (tmp_path / "poses.csv").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(Refusal, match="too large") as caught:
        open_poses(PoseSettings(table="poses.csv"), tmp_path, None)
    assert caught.value.problems[0].wanted == "at most 64 MiB"


@pytest.mark.parametrize(("name", "what"), [("no.csv", "no such file"), ("poses.star", "kind of file"), (".", "folder")])
def test_a_file_that_is_no_table_is_refused_by_its_key(tmp_path, name, what):
    (tmp_path / "poses.star").write_text("data_\n")
    with pytest.raises(Refusal, match=what) as caught:
        open_poses(PoseSettings(table=name), tmp_path, None)
    assert caught.value.problems[0].where.startswith("poses.table: ")
