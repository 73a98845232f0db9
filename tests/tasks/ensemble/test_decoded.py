"""A class of the user's own: found without being run, refused before any work, its failures named by frame and line."""

import pickle
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from cryovox.tasks.ensemble.decoded import DecoderSettings, open_decoded
from cryovox.tasks.ensemble.own_class import OwnClass
from cryovox.tasks.errors import FrameFault, Refusal

MODULE = """
from cryovox import AbstractVolumeParametrization, GaussianMixtureVolume
import jax, jax.numpy as jnp

print("imported")

class Cloud(AbstractVolumeParametrization, strict=True):
    width: float
    latent: jax.Array | None

    def __init__(self, width: float = 1.0, latent=None, weights=None):
        if width < 0:
            raise ValueError("width must not be negative")
        if weights is not None:
            assert weights.read_text() == "w"
        self.width, self.latent = width, None if latent is None else jnp.asarray(latent)

    def to_representation(self, rng_key=None):
        if self.width == 13:
            return 1 / 0
        if self.width == 14:
            return "a picture"
        points = jax.random.normal(rng_key, (4, 3)) if self.latent is None else self.latent
        return GaussianMixtureVolume(points, 1.0, self.width)

class Stranger:
    pass
"""


@pytest.fixture
def folder(tmp_path):
    """A recipe's folder with a module of a name that no other test uses, forgotten afterwards."""
    name = f"cloud_{abs(hash(tmp_path)) % 10**8}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "w.txt").write_text("w")
    np.save(tmp_path / "latents.npy", np.arange(60.0).reshape(5, 4, 3))
    yield tmp_path, name
    sys.modules.pop(name, None)
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def opened(folder, name="Cloud", **keys):
    path, module = folder
    return open_decoded(DecoderSettings(f"{module}:{name}", **{"frames": 5, **keys}), path)


def problems(folder, **keys):
    with pytest.raises(Refusal) as refusal:
        open_decoded(DecoderSettings(**keys), folder[0])
    return list(refusal.value.problems)


def test_opening_runs_none_of_the_users_code(folder, capfd):
    ensemble = opened(folder, files={"weights": "w.txt"})
    assert capfd.readouterr().out == ""
    assert folder[1] not in sys.modules
    assert [source.name for source in ensemble.sources] == [f"{folder[1]}.py", "w.txt"]
    assert ensemble.n_frames == 5
    assert ensemble.facts == {"parametrization": f"{folder[1]}:Cloud"}


def test_the_key_of_a_frame_is_the_seed_folded_with_its_number(folder):
    own = OwnClass(pickle.loads(pickle.dumps(opened(folder, seed=7))))
    for frame in (3, 0, 3):
        key = jax.random.fold_in(jax.random.key(7), frame)
        np.testing.assert_array_equal(own.representation(frame).positions, jax.random.normal(key, (4, 3)))
    other = OwnClass(opened(folder, seed=8)).representation(3)
    assert not np.array_equal(other.positions, own.representation(3).positions)


def test_a_table_gives_each_frame_its_row(folder):
    own = OwnClass(
        opened(folder, frames=None, each={"latent": "latents.npy"}, arguments={"width": 2.0}, files={"weights": "w.txt"})
    )
    assert own.ensemble.n_frames == 5
    for frame in range(5):
        np.testing.assert_array_equal(own.representation(frame).positions, np.arange(12.0).reshape(4, 3) + 12 * frame)


def test_an_installed_module_is_found_by_its_name(folder):
    ensemble = open_decoded(DecoderSettings("json.decoder:JSONDecoder", frames=1), folder[0])
    assert ensemble.sources[0].name == "decoder.py"
    with pytest.raises(Refusal, match="this is no parametrization"):
        OwnClass(ensemble)


def test_every_file_is_known_by_all_of_its_bytes(folder):
    path = folder[0] / "big.bin"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 4096)
    before = opened(folder, files={"weights": "big.bin"}).sources[1]
    with path.open("r+b") as file:
        file.seek((1 << 20) + 100)  # between the blocks of a sampled digest
        file.write(b"x")
    after = opened(folder, files={"weights": "big.bin"}).sources[1]
    assert before.digest.startswith("sha256:")
    assert after.digest != before.digest


def test_seeds_that_would_repeat_others_are_refused():
    largest = 2**32 - 1
    settings = TypeAdapter(DecoderSettings)
    assert settings.validate_python({"parametrization": "a:B", "seed": largest}).seed == largest
    with pytest.raises(ValidationError, match="seed"):
        settings.validate_python({"parametrization": "a:B", "seed": largest + 1})
    assert len({tuple(jax.random.key_data(jax.random.key(seed)).tolist()) for seed in (0, 1, largest - 1, largest)}) == 4


def test_a_module_of_the_same_name_elsewhere_is_another(folder, tmp_path):
    OwnClass(opened(folder))
    beside = tmp_path / "other"
    beside.mkdir()
    (beside / f"{folder[1]}.py").write_text(MODULE.replace("(4, 3)", "(6, 3)"))
    own = OwnClass(open_decoded(DecoderSettings(f"{folder[1]}:Cloud", frames=5), beside))
    assert own.representation(0).positions.shape == (6, 3)
    sys.path.remove(str(beside))


@pytest.mark.parametrize(
    ("keys", "what", "where"),
    [
        ({"parametrization": "latents.LatentDecoder"}, "a class cannot be read from this", "ensemble.parametrization"),
        ({"parametrization": "no_such_module_at_all:A"}, "there is no such module", "ensemble.parametrization"),
        ({"parametrization": "no.such.module:A"}, "there is no such module", "ensemble.parametrization"),
        ({"files": {"weights": "gone.txt"}}, "there is no such file", "ensemble.files.weights"),
        ({"each": {"latent": "gone.npy"}, "frames": None}, "there is no such file", "ensemble.each.latent"),
        ({"each": {"latent": "w.txt"}, "frames": None}, "this kind of file is not read here", "ensemble.each.latent"),
        ({"each": {"latent": "latents.npy"}, "frames": 4}, "the numbers of frames differ", "ensemble"),
        ({"frames": None}, "the number of frames is not known", "ensemble.frames"),
        ({"arguments": {"weights": 1}, "files": {"weights": "w.txt"}}, "argument `weights` is given twice", "ensemble.arguments"),
        ({"arguments": {"not a name": 1}}, "this is no keyword", "ensemble.arguments.not a name"),
    ],
)
def test_what_cannot_be_is_refused_before_any_code_runs(folder, keys, what, where):
    (problem,) = problems(folder, **{"parametrization": f"{folder[1]}:Cloud", "frames": 5, **keys})
    assert problem.what == what
    assert problem.where.startswith(where)
    assert folder[1] not in sys.modules


@pytest.mark.parametrize("content", ["objects", "text", "scalar", "cut"])
def test_a_table_that_holds_no_rows_of_numbers_is_refused(folder, content):
    path = folder[0] / "bad.npy"
    array = {"objects": np.array([{}], object), "text": np.array(["a"]), "scalar": np.array(1.0), "cut": np.zeros((9, 9))}[
        content
    ]
    np.save(path, array, allow_pickle=True)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    (problem,) = problems(folder, parametrization=f"{folder[1]}:Cloud", each={"latent": "bad.npy"})
    assert problem.where.startswith("ensemble.each.latent")


def test_all_problems_are_told_at_once(folder):
    found = problems(folder, parametrization="x", files={"a": "gone"}, each={"b": "gone.npy"})
    assert len(found) == 3


@pytest.mark.parametrize(
    ("name", "keys", "what", "got"),
    [
        ("Nobody", {}, "this is no parametrization", "nothing of that name"),
        ("Stranger", {}, "this is no parametrization", "Stranger"),
        ("Cloud", {"arguments": {"size": 1}}, "the class cannot be made with these arguments", "size"),
        ("Cloud", {"arguments": {"width": -1.0}}, "the class cannot be made with these arguments", "width must not be negative"),
    ],
)
def test_a_class_that_cannot_be_had_is_refused_before_any_frame(folder, name, keys, what, got):
    with pytest.raises(Refusal) as refusal:
        OwnClass(opened(folder, name, **keys))
    (problem,) = refusal.value.problems
    assert problem.what == what
    assert got in problem.got


def test_a_module_that_fails_is_refused_with_its_error(folder):
    path = folder[0] / f"{folder[1]}.py"
    path.write_text("import no_such_package_of_theirs\n")
    with pytest.raises(Refusal, match="no_such_package_of_theirs"):
        OwnClass(opened(folder))


@pytest.mark.parametrize(("width", "got"), [(13.0, "ZeroDivisionError"), (14.0, "str")])
def test_a_frame_that_fails_is_named_with_the_line(folder, width, got):
    own = OwnClass(opened(folder, arguments={"width": width}))
    with pytest.raises(FrameFault) as caught:
        own.representation(2)
    assert caught.value.frame == 2
    assert got in caught.value.problem.got
    if width == 13:
        assert f"{folder[1]}.py:20" in caught.value.problem.got


RAISING = """
from cryovox import AbstractVolumeParametrization
class Cloud(AbstractVolumeParametrization, strict=True):
    def __init__(self):
        raise ERROR
    def to_representation(self, rng_key=None):
        return None
"""
STAGES = {
    "imported": "raise ERROR",
    "made": RAISING,
    "decoded": RAISING.replace("raise ERROR", "pass").replace("return None", "raise ERROR"),
}


def raising(folder, stage, error):
    (folder[0] / f"{folder[1]}.py").write_text(STAGES[stage].replace("ERROR", error))
    return opened(folder)


@pytest.mark.parametrize(
    ("stage", "what"),
    [
        ("imported", "the module cannot be imported"),
        ("made", "the class cannot be made with these arguments"),
        ("decoded", "the parametrization failed"),
    ],
)
def test_a_class_that_exits_does_not_end_the_worker(folder, stage, what):
    ensemble = raising(folder, stage, "SystemExit(3)")
    with pytest.raises(FrameFault if stage == "decoded" else Refusal) as caught:
        OwnClass(ensemble).representation(1)
    problem = caught.value.problem if isinstance(caught.value, FrameFault) else caught.value.problems[0]
    assert problem.what == what
    assert "SystemExit: 3" in problem.got


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_passes(folder, stage):
    ensemble = raising(folder, stage, "KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        OwnClass(ensemble).representation(1)


DRAWING = """
from cryovox import AbstractVolumeParametrization, GaussianMixtureVolume
import itertools
import numpy as np
import jax, jax.numpy as jnp

count = itertools.count()

class Cloud(AbstractVolumeParametrization, strict=True):
    shift: float

    def __init__(self, latent=None):
        self.shift = MADE

    def to_representation(self, rng_key=None):
        points = jax.random.normal(rng_key, (DRAWN, 3)) + self.shift
        return GaussianMixtureVolume(points, 1.0, WIDTH)
"""


@pytest.mark.parametrize("tables", [False, True])
@pytest.mark.parametrize(
    ("made", "drawn", "width", "got"),
    [
        ("0.0", "4", "1.0", None),
        ("0.0", "4", "1.0 + 1e-6 * np.random.rand()", None),
        ("0.0", "4", "1.0 + np.random.rand()", "variances"),
        ("0.0", "4", "1.0 + 1e-4 * next(count)", "variances"),
        ("np.random.rand()", "4", "1.0", "positions"),
        ("0.0", "4 + next(count)", "1.0", "(4, 3), then of (5, 3)"),
    ],
)
def test_a_class_that_does_not_repeat_itself_is_refused(folder, tables, made, drawn, width, got):
    text = DRAWING.replace("MADE", made).replace("DRAWN", drawn).replace("WIDTH", width)
    (folder[0] / f"{folder[1]}.py").write_text(text)
    own = OwnClass(opened(folder, each={"latent": "latents.npy"} if tables else {}))
    if got is None:
        own.check_repeats(0)
        return
    with pytest.raises(Refusal) as refusal:
        own.check_repeats(0)
    (problem,) = refusal.value.problems
    assert problem.what == "the class gives another volume for the same key"
    assert got in problem.got
    assert "frame 0" in problem.where
    assert "rng_key" in problem.fix


def test_what_is_no_number_repeats_itself_and_is_left_to_the_check_of_frames(folder):
    jitted = "jax.jit(lambda p: GaussianMixtureVolume(p * np.nan, 1.0, 1.0))(points)"  # inside jit no volume looks at its values
    text = DRAWING.replace("MADE", "0.0").replace("DRAWN", "4").replace("GaussianMixtureVolume(points, 1.0, WIDTH)", jitted)
    (folder[0] / f"{folder[1]}.py").write_text(text)
    own = OwnClass(opened(folder))
    own.check_repeats(0)
    assert np.isnan(own.representation(0).positions).all()


def test_a_volume_of_another_kind_is_no_repetition(folder):
    text = DRAWING.replace("MADE", "0.0").replace("DRAWN", "4").replace("WIDTH", "1.0")
    kinds = "parameters = PengScatteringFactorParameters(np.array([6]))\n        atoms = IndependentAtomVolume"
    kinds += ".from_tabulated_parameters((points,), parameters)\n        return GaussianMixtureVolume(points, 1.0, 1.0)"
    text = text.replace("return GaussianMixtureVolume(points, 1.0, 1.0)", f"{kinds} if next(count) else atoms")
    text = text.replace("import Abs", "import IndependentAtomVolume, PengScatteringFactorParameters, Abs")
    (folder[0] / f"{folder[1]}.py").write_text(text)
    with pytest.raises(Refusal, match="IndependentAtomVolume, then GaussianMixtureVolume"):
        OwnClass(opened(folder)).check_repeats(0)


def test_the_example_decodes_two_latents():
    recipes = Path(__file__).parents[3] / "configs" / "recipes"
    settings = DecoderSettings(
        "latent_decoder:TwistAndBend", {"twist": 20.0}, {"structure": "../quickstart/adk.pdb"}, frames=3, seed=1
    )
    own = OwnClass(open_decoded(settings, recipes))
    shapes = [np.asarray(own.representation(frame).positions) for frame in range(3)]
    assert shapes[0].shape == (3341, 3)
    assert np.linalg.norm(shapes[0] - shapes[1], axis=1).max() > 1
    made = sys.modules["latent_decoder"].TwistAndBend(recipes / "../quickstart/adk.pdb", latent=[0.0, 0.0])
    from cryovox import read_atoms_from_pdb

    still, _ = read_atoms_from_pdb(recipes / "../quickstart/adk.pdb")
    np.testing.assert_allclose(made.to_representation().positions, still, rtol=0, atol=1e-4)
