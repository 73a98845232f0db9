"""The API reference holds all that `cryovox` offers: built by its one command, as a user builds it."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cryovox

DOOR: Any = cryovox
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Its HTML, and what building it printed."""
    into = tmp_path_factory.mktemp("reference") / "made" / "anew"
    command = [sys.executable, "-W", "error::UserWarning", str(ROOT / "docs" / "reference.py"), "--into", str(into)]
    done = subprocess.run(command, cwd=into.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == f"{into / 'index.html'}\n"
    return (into / "index.html").read_text(encoding="utf-8")


def words(text: str) -> list[str]:
    """Of HTML or of a docstring, without their marks."""
    return re.findall(r"\w+", html.unescape(re.sub(r"<[^>]*>", " ", text)))


def test_every_name_is_there_once_with_its_docstring(built):
    sections = dict(re.findall(r'<section id="(\w+)">(.*?)</section>', built, re.DOTALL))
    assert set(DOOR.__all__) <= set(sections)
    for name in DOOR.__all__:
        docstring = getattr(DOOR, name).__doc__
        assert docstring, name
        assert built.count(f'<section id="{name}">') == 1
        first = words(docstring.split("\n\n")[0])
        assert " ".join(first) in " ".join(words(sections[name])), name


def test_every_name_is_in_the_contents_and_every_group_has_its_heading(built):
    groups = re.findall(r'<h2 class="group">(.*?)</h2>', built)
    assert groups == re.findall(r"<p><strong>(.*?)</strong>:", built)
    assert len(groups) == len(set(groups)) > 5
    assert all(f'<a href="#{name}">{name}</a>' in built for name in DOOR.__all__)


def test_nothing_of_this_machine_is_in_it(built):
    ours = {str(ROOT), str(Path.home()), sys.prefix, os.path.realpath(sys.prefix), str(Path.cwd())} - {"/"}
    assert [path for path in ours if path in built] == []
    assert not re.search(r"\b0x[0-9a-f]{6,}\b|site-packages|file://", built)


def test_annotations_are_as_they_are_written(built):
    """Not as they are printed: `Union[jax.jaxlib._jax.Array, …]`."""
    assert "ArrayLike" in " ".join(words(built))
    assert not re.search(r"jaxlib|_better_abstract", built)
