"""The file that was identified is the file that runs, whatever is on the path, was loaded before or has been edited."""

import sys

import pytest

from cryovox.tasks.ensemble.decoded import DecoderSettings, open_decoded
from cryovox.tasks.ensemble.own_class import OwnClass
from cryovox.tasks.errors import Problem, Refusal

MODULE = """
from cryovox import AbstractVolumeParametrization, GaussianMixtureVolume
import jax.numpy as jnp

N = 4

class Cloud(AbstractVolumeParametrization, strict=True):
    def to_representation(self, rng_key=None):
        return GaussianMixtureVolume(jnp.ones((N, 3)), 1.0, 1.0)
"""


def with_points(n):
    return MODULE.replace("N = 4", f"N = {n}")


@pytest.fixture(autouse=True)
def forgotten(tmp_path):
    """What a test loads and puts on the path is gone after it."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if modules.get(name) is not module and name.startswith("own_"):
            del sys.modules[name]


def written(folder, **files):
    """A folder with these modules: `a__b` is b.py in package a."""
    for name, text in files.items():
        path = folder.joinpath(*name.split("__", 1)).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.parent != folder and not (path.parent / "__init__.py").exists():
            (path.parent / "__init__.py").write_text("")
    return folder


def opened(module, folder):
    return open_decoded(DecoderSettings(f"{module}:Cloud", frames=5), folder)


def points(ensemble):
    return len(OwnClass(ensemble).representation(0).positions)


def refused(ensemble) -> Problem:
    with pytest.raises(Refusal) as refusal:
        OwnClass(ensemble)
    (problem,) = refusal.value.problems
    return problem


def test_of_a_module_and_a_package_the_one_that_python_takes_is_identified(tmp_path):
    written(tmp_path, own_both=with_points(4))
    (tmp_path / "own_both").mkdir()
    (tmp_path / "own_both" / "__init__.py").write_text(with_points(5))
    ensemble = opened("own_both", tmp_path)
    assert ensemble.file == str(tmp_path / "own_both" / "__init__.py")
    assert ensemble.sources[0].name == "__init__.py"
    assert points(ensemble) == 5


def test_the_recipes_folder_comes_before_others_and_is_on_the_path_once(tmp_path):
    other = written(tmp_path / "other", own_behind=with_points(6))
    mine = written(tmp_path / "mine", own_behind=with_points(5))
    sys.path[:0] = [str(other), str(mine)]
    ensemble = opened("own_behind", mine)
    assert points(ensemble) == 5
    OwnClass(ensemble)
    assert sys.path.count(str(mine)) == 1


def test_a_parent_that_was_loaded_from_elsewhere_is_another(tmp_path):
    other = written(tmp_path / "other", own_parent__m=with_points(6), own_parent__beside="WHO = 'other'")
    mine = written(tmp_path / "mine", own_parent__m=with_points(5), own_parent__beside="WHO = 'mine'")
    assert points(opened("own_parent.m", other)) == 6
    __import__("own_parent.beside")
    (mine / "own_parent" / "m.py").write_text(with_points(5) + "\nfrom .beside import WHO\nassert WHO == 'mine'\n")
    assert points(opened("own_parent.m", mine)) == 5


@pytest.mark.parametrize("module", ["own_edited", "own_pack.edited"])
def test_a_module_that_was_edited_and_opened_again_runs_as_it_is_now(tmp_path, module):
    for n in (4, 5, 6):  # the same size and, it may be, the same second: bytecode cannot tell
        written(tmp_path, **{module.replace(".", "__"): with_points(n)})
        assert points(opened(module, tmp_path)) == n


def test_a_module_that_someone_imported_before_it_was_edited_runs_as_it_is_now(tmp_path):
    written(tmp_path, own_early=with_points(4))
    sys.path.insert(0, str(tmp_path))
    __import__("own_early")
    written(tmp_path, own_early=with_points(5))
    assert points(opened("own_early", tmp_path)) == 5


@pytest.mark.parametrize("loaded", [False, True])
def test_a_file_that_changed_since_it_was_identified_is_refused_before_it_runs(tmp_path, capfd, loaded):
    ensemble = opened("own_changed", written(tmp_path, own_changed=MODULE))
    if loaded:
        OwnClass(ensemble)
    written(tmp_path, own_changed=MODULE + "print('it ran')")
    problem = refused(ensemble)
    assert problem.what == "the module has changed since the run began"
    assert str(tmp_path / "own_changed.py") in problem.where
    assert capfd.readouterr().out == ""
    (tmp_path / "own_changed.py").unlink()
    assert refused(ensemble).what == "the module cannot be read"


def test_a_module_that_turns_out_to_be_another_file_is_refused_with_both(tmp_path):
    written(tmp_path, own_mask="import sys\nsys.modules[__name__] = __import__('json')")
    problem = refused(opened("own_mask", tmp_path))
    assert problem.what == "another file was loaded"
    assert "json" in problem.got
    assert problem.wanted == str(tmp_path / "own_mask.py")


@pytest.mark.parametrize("module", ["own_twice", "own_pack.twice", "own_pack"])
def test_two_sessions_of_one_process_share_the_class(tmp_path, module):
    file = "own_pack____init__" if module == "own_pack" else module.replace(".", "__")
    ensemble = opened(module, written(tmp_path, **{file: MODULE}))
    made = [type(OwnClass(one)._alone) for one in (ensemble, ensemble, opened(module, tmp_path))]
    assert made[0] is made[1] is made[2]


def test_a_module_imports_what_lies_beside_it(tmp_path):
    package = "from .shape import N\nfrom own_flat import M\nassert M == 9\n"
    written(tmp_path, own_kin__m=MODULE.replace("N = 4", package), own_kin__shape="N = 8", own_flat="M = 9")
    assert points(opened("own_kin.m", tmp_path)) == 8


def test_what_lies_beside_another_recipe_is_not_imported(tmp_path):
    for n in (4, 5, 4):
        text = MODULE.replace("N = 4", "from own_sibling import N")
        folder = written(tmp_path / str(n), own_main=text, own_sibling=f"N = {n}")
        assert points(opened("own_main", folder)) == n


@pytest.mark.parametrize("first", ["raise RuntimeError('it ran')", "print('it ran')", "raise SystemExit(3)"])
def test_an_installed_package_is_found_without_being_run(tmp_path, capfd, first):
    site = written(tmp_path / "site", own_installed____init__=first, own_installed__dec=MODULE)
    sys.path.insert(0, str(site))
    ensemble = opened("own_installed.dec", tmp_path)
    assert ensemble.file == str(site / "own_installed" / "dec.py")
    assert "own_installed" not in sys.modules
    assert capfd.readouterr().out == ""
    if first.startswith("print"):
        assert points(ensemble) == 4
        assert capfd.readouterr().out == "it ran\n"
        assert str(tmp_path) not in sys.path
    else:
        assert refused(ensemble).what == "the module cannot be imported"
        with pytest.raises(Refusal, match="there is no such module"):
            opened("own_installed.gone", tmp_path)


def test_folders_without_a_package_file_are_found(tmp_path):
    deep = tmp_path / "site" / "own_space" / "inner"
    deep.mkdir(parents=True)
    (deep / "dec.py").write_text(MODULE)
    sys.path.insert(0, str(tmp_path / "site"))
    ensemble = opened("own_space.inner.dec", tmp_path)
    assert ensemble.file == str(deep / "dec.py")
    assert points(ensemble) == 4


@pytest.mark.parametrize("module", ["__main__", "own_broken.dec", "sys", "json.decoder.deeper", "own_folder"])
def test_whatever_cannot_be_found_is_no_module(tmp_path, module):
    (tmp_path / "own_folder").mkdir()
    written(tmp_path, own_broken="a module, no package")
    with pytest.raises(Refusal, match="there is no such module"):
        opened(module, tmp_path)


def test_an_installed_module_that_is_in_use_is_not_loaded_again(tmp_path):
    import json.decoder

    with pytest.raises(Refusal, match="this is no parametrization"):
        OwnClass(open_decoded(DecoderSettings("json.decoder:JSONDecoder", frames=1), tmp_path))
    assert sys.modules["json.decoder"] is json.decoder
