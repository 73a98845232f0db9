"""The guide and the README say what is true: every command is one, every link leads somewhere, and every story runs.

A page is a story: its ```sh and ```python blocks are run from top to bottom in one fresh folder, the Python blocks in one
interpreter. `<!-- data: adk, bioemu_relaxed as samples -->` on a page says what that folder holds: see `provide`. A block that
cannot run here is marked ```sh elsewhere or ```python elsewhere (and whatever installs something is taken for one): its commands
are parsed all the same, and its Python is compiled. A ```yaml block is part of a recipe; any other is shown only.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cryovox

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *GUIDE]
README_DATA = "configs, adk.zarr, trajectory.xtc"
RUN = ("sh", "python")
INSTALLS = re.compile(r"\bpip install\b|-m venv\b")

RUNNER = """
import json, subprocess, sys
story, names = json.loads(open(sys.argv[1], encoding="utf-8").read()), {"__name__": "__main__"}
for page, line, language, text in story:
    print(f"--- {page}:{line}", flush=True)
    if language == "sh":
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
    else:
        exec(compile("\\n" * line + text, page, "exec"), names)
        sys.stdout.flush()
"""


@dataclass(frozen=True)
class Block:
    """Fenced text of a page."""

    page: str
    line: int
    """Of its fence, from 1."""
    language: str
    elsewhere: bool
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    found, begun = [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            if begun is not None:
                begun[2].append(line)
        elif begun is None:
            begun = number, line[3:].split(), []
        else:
            first, words, lines = begun
            text = "\n".join([*lines, ""])
            elsewhere = "elsewhere" in words[1:] or bool(INSTALLS.search(text))
            found.append(Block(name(page), first, words[0] if words else "", elsewhere, text))
            begun = None
    assert begun is None, f"{name(page)}: a fence is not closed"
    return found


def prose(page: Path) -> str:
    """What stands between the fences."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(shell: str) -> Iterator[list[str]]:
    """The words after each `cryovox` of a shell text."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for at, word in enumerate(words):
            if word.rpartition("/")[2] == "cryovox":
                rest = words[at + 1 :]
                end = next((i for i, one in enumerate(rest) if set(one) <= set("();<>|&")), len(rest))
                yield rest[:end]


ALL = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "sh"]
PYTHON = [block for block in ALL if block.language == "python"]


def inline(page: Path) -> Iterator[list[str]]:
    """Commands within a sentence, and in the first column of a table; not those with `[--option]` or `…`."""
    for text in re.findall(r"`(cryovox [a-z][^`]*)`", prose(page)):
        if not set("[]|…") & set(text):
            yield shlex.split(text)[1:]


def command_line() -> Any:
    from typer.main import get_command

    from cryovox.pipeline.cli import entry, options

    assert entry  # it has registered the commands
    return get_command(options.app)


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and what it would be given. Raises what the real command line raises."""
    from cryovox.pipeline.clusters.profile import load_profile
    from cryovox.pipeline.documents.recipe import load_recipe

    group = command_line()
    context = group.make_context("cryovox", list(words))
    if not words or words[0].startswith("-"):
        return "", context.params
    called, command, rest = group.resolve_command(context, list(words))
    given = command.make_context(called, list(rest), parent=context).params
    if given.get("overrides"):  # of any recipe: nothing is opened
        load_recipe(ROOT / "configs" / "recipes" / "md-volumes.yaml", given["overrides"])
    if (profile := given.get("cluster")) and "/" not in profile:
        load_profile(profile, given.get("cluster_overrides") or [])
    return called, given


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_every_command_of_a_block_is_one(block):
    for words in commands(block.text):
        assert parsed(words)[0] or words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_within_a_sentence_is_one(page):
    """A sentence may leave out which store or recipe it is."""
    for words in inline(page):
        whole = words[0] in ("schema", "doctor") or any(not word.startswith("-") for word in words[1:])
        assert parsed(words if whole else [*words, "THIS"])[0] in command_line().commands


@pytest.mark.parametrize(
    "words",
    ["rum recipe.yaml", "run recipe.yaml --pruned 3", "plan r.yaml --set gird.shape=auto", "run r.yaml --cluster-set worker=2"],
)
def test_a_wrong_command_is_found(words):
    with pytest.raises(Exception, match=r"No such|unknown"):
        parsed(words.split())


def test_commands_are_found_in_all_their_forms():
    text = "cryovox run a.yaml \\\n  --prune 3 && .venv/bin/cryovox status a.zarr | head  # cryovox no\n"
    text += 'echo "cryovox no" > x; cryovox schema > s\n'
    assert list(commands(text)) == [["run", "a.yaml", "--prune", "3"], ["status", "a.zarr"], ["schema"]]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.place)
def test_every_python_block_compiles_and_asks_for_what_there_is(block):
    tree = ast.parse(block.text, block.place)
    asked = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "cryovox"}
    door: Any = cryovox
    assert asked <= set(door.__all__)


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "yaml"], ids=lambda block: block.place)
def test_every_yaml_block_is_part_of_a_recipe(block):
    from ruamel.yaml import YAML

    from cryovox.pipeline.documents.recipe import load_recipe

    keys: dict[str, Any] = YAML(typ="safe").load(block.text)
    overrides = [f"{key}.{k}={json.dumps(v)}" for key, value in keys.items() if isinstance(value, dict) for k, v in value.items()]
    overrides += [f"{key}={json.dumps(value)}" for key, value in keys.items() if not isinstance(value, dict)]
    load_recipe(ROOT / "configs" / "recipes" / "md-volumes.yaml", overrides)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"https?://", link):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{name(page)}: {link}"
            assert not anchor or anchor in anchors(target), f"{name(page)}: {link}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in GUIDE if page.name != "README.md" and f"]({page.name})" not in index] == []


def test_the_readme_lists_every_command():
    listed = re.findall(r"^\| `cryovox (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(command_line().commands)


def test_pages_are_short():
    assert {name(page): n for page in GUIDE if (n := len(page.read_text(encoding="utf-8").splitlines())) > 130} == {}


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder), "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def quickstart_store(tmp_path_factory):
    """`adk.zarr` and `adk.zarr.run`, as the README's quickstart leaves them."""
    folder = tmp_path_factory.mktemp("store")
    recipe = ROOT / "configs" / "recipes" / "quickstart.yaml"
    command = [sys.executable, "-m", "cryovox.pipeline.cli", "run", str(recipe)]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "adk.zarr"


@pytest.fixture
def provide(look_alikes, quickstart_store, quickstart):
    """`provide("boltz as predictions", folder)`: a folder of tests/look_alikes.py, under its name or another; or, in the page's
    folder itself, `adk` (adk.pdb, adk.xtc), `adk.zarr` (the quickstart's store), `configs`, `trajectory.xtc` (and topol.tpr)."""

    def put(what: str, folder: Path) -> None:
        tool, _, called = what.partition(" as ")
        if tool == "adk":
            for file in ("adk.pdb", "adk.xtc"):
                shutil.copyfile(quickstart / file, folder / file)
        elif tool == "adk.zarr":
            for path in (quickstart_store, quickstart_store.with_name("adk.zarr.run")):
                shutil.copytree(path, folder / path.name)
        elif tool == "trajectory.xtc":
            for ours, theirs in ((tool, "traj.xtc"), ("topol.tpr", "topol.tpr")):
                shutil.copyfile(look_alikes.make("gromacs") / theirs, folder / ours)
        elif tool == "configs":
            shutil.copytree(ROOT / "configs", folder / "configs")
        else:
            shutil.copytree(look_alikes.make(tool), folder / (called or tool), dirs_exist_ok=True)

    return put


def data_of(page: Path) -> list[str]:
    said = re.search(r"<!-- data: (.*?) -->", page.read_text(encoding="utf-8"))
    if said is None and page.parent != ROOT:
        return []
    return [word.strip() for word in (said.group(1) if said else README_DATA).split(",")]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.language in RUN and not b.elsewhere for b in blocks(p))], ids=name)
def test_a_page_is_a_story_that_runs(page, provide, tmp_path):
    folder = tmp_path / "story"
    folder.mkdir()
    for what in data_of(page):
        provide(what, folder)
    story = [[b.page, b.line, b.language, b.text] for b in blocks(page) if b.language in RUN and not b.elsewhere]
    (tmp_path / "story.json").write_text(json.dumps(story), encoding="utf-8")
    began = time.monotonic()
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "story.json")]
    done = subprocess.run(command, cwd=folder, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{name(page)}: {len(story)} blocks in {time.monotonic() - began:.0f} s")
