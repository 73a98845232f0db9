"""The rules of the house: who may import what, what touches files, and how every module begins.

A rule is a function from a module to its complaints; each is held against the whole tree and against a planted breach.
"""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

import cryovox

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "workflows", "tasks")

COMMON = {"numpy", "annotated_types", "jaxtyping"}
MATHEMATICS = COMMON | {"scipy", "jax", "equinox", "jax_finufft", "numba", "llvmlite", "cupy"}
CLUSTER = {"dask", "distributed", "bokeh", "tornado", "psutil"}
PIPELINE = COMMON | CLUSTER | {"pydantic", "pydantic_core", "ruamel", "typer", "click", "rich", "prometheus_client"}
PIPELINE_ROOMS = ("cli", "clusters", "dashboard", "documents", "events", "export", "report", "workers")
MAY_IMPORT = {
    "": set(),
    "pipeline": PIPELINE,
    **{f"pipeline.{room}": PIPELINE for room in PIPELINE_ROOMS},
    "pipeline.open": PIPELINE | {"xarray"},
    "workflows": COMMON,
    "workflows.averages": COMMON,
    "tasks": COMMON | {"scipy"},
    "tasks.decoding": COMMON | {"scipy", "MDAnalysis", "gemmi", "h5py", "zarr"},
    "tasks.ensemble": COMMON | {"scipy", "gemmi"},
    "tasks.scattering": MATHEMATICS,
    "tasks.volume": MATHEMATICS,
    "tasks.render": MATHEMATICS,
    "tasks.store": COMMON | {"scipy", "zarr", "mrcfile", "gemmi", "numcodecs", "google_crc32c", "cupy", "nvidia"},
    "tasks.pictures": COMMON | {"scipy", "matplotlib"},
}
"""Packages from the index that each room may import, beside the standard library."""

ALSO = {"pipeline/doctor.py": {"jax"}, "tasks/ensemble/own_class.py": {"jax"}}
"""What one module may import beyond its room: the doctor looks at the devices, a user's class is given a random key."""

GUARDED = {"jax_finufft", "numba", "llvmlite", "cupy", "nvidia"}
"""Engines that may be missing: imported in a `try` or a function."""

PURE = ("tasks.volume", "tasks.render")
WORLDLY = {
    "os", "io", "pathlib", "time", "datetime", "tempfile", "shutil", "subprocess", "socket", "glob", "logging", "sys",
}  # fmt: skip
"""Modules of files, clocks and the environment: none in a room of pure array mathematics."""

LONGEST = 400
"""Lines of a module."""

TOP_LEVEL = {
    *ROOMS, "configs", "tests", "docs", ".ci", ".gitignore", "pyproject.toml", "constraints.txt", "README.md", "LICENSE",
    "MANIFEST.in", "__init__.py", "__init__.pyi", "py.typed",
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    path: str
    """Relative to the repository."""
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        return ".".join(Path(self.path).parent.parts)

    @property
    def is_test(self) -> bool:
        """Or builds the documentation: it stands outside of the package, and imports it as a user does."""
        return self.path.startswith(("tests/", "docs/"))

    @property
    def imports(self) -> Iterator[tuple[ast.stmt, str]]:
        """Every import: ours as `.tasks.grid.VoxelGrid` from the package's root, others by their module."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node, node.module or ""
            elif isinstance(node, ast.ImportFrom):
                parts = Path(self.path).parent.parts
                base = (*parts[: len(parts) + 1 - node.level], *filter(None, [node.module]))
                yield from ((node, "." + ".".join((*base, alias.name))) for alias in node.names)

    def at(self, node: ast.AST, complaint: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {complaint}"


def files() -> list[str]:
    """What a clone holds, and what is new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted({name for name in listed if name and (ROOT / name).is_file()})


try:
    FILES = files()
except (OSError, subprocess.CalledProcessError) as error:
    pytest.skip(f"not a git checkout: {error}", allow_module_level=True)

# what configs/ holds in Python is an example of a user's own code
MODULES = [Module(n, (ROOT / n).read_text()) for n in FILES if n.endswith(".py") and not n.startswith("configs/")]


def room_of(imported: str) -> str:
    """The room of one of ours, named `.tasks.render.bricks.Engine` or `.tasks.grid.VoxelGrid`; empty for the root."""
    parts = imported.strip(".").split(".")
    rooms = set(MAY_IMPORT)
    return next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in rooms), "")


def runs_downhill(module: Module) -> Iterator[str]:
    if module.is_test:
        return
    mine = ROOMS.index(module.room.split(".")[0]) if module.room else -1
    for node, name in module.imports:
        if name.startswith("."):
            other = room_of(name).split(".")[0]
            if other and module.room and ROOMS.index(other) < mine:
                yield module.at(node, f"{ROOMS[mine]} imports {other}: imports run pipeline → workflows → tasks")


def keeps_to_its_packages(module: Module) -> Iterator[str]:
    if module.is_test:
        return
    for node, name in module.imports:
        package = name.split(".")[0]
        if name.startswith(".") or package in sys.stdlib_module_names:
            continue
        if package not in MAY_IMPORT.get(module.room, set()) | ALSO.get(module.path, set()):
            yield module.at(node, f"{module.room or 'the root'} imports {package}")


def guards_optional_engines(module: Module) -> Iterator[str]:
    for node, name in module.imports:
        if name.split(".")[0] in GUARDED and node in module.tree.body:
            yield module.at(node, f"{name} may be missing: import it in a `try` or a function")


def never_imports_bare(module: Module) -> Iterator[str]:
    for node, name in module.imports:
        if name.split(".")[0] in ROOMS:
            yield module.at(node, f"bare `{name}` is another package's name")
        if name.split(".")[0] == "cryovox" and not module.is_test:
            yield module.at(node, "imports inside the house are relative")


def takes_two_dots_at_most(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level > (0 if module.is_test else 2):
            storey = (node.module or "").split(".")[0]
            if not (node.level == 3 and module.room.startswith(("pipeline.", "workflows.")) and storey in ROOMS):
                yield module.at(node, "one dot is my room, two dots next door, three from a room upstairs down to another storey")


def bound_in(tree: ast.Module) -> set[str]:
    """Names that a module has, functions' own among them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


@cache
def theirs() -> dict[str, set[str]]:
    """What can be had of each of our modules, by its place in the tree: `tasks/grid`, `tasks/store` for the room's door."""
    found = {str(Path(m.path).with_suffix("")).removesuffix("/__init__"): bound_in(m.tree) for m in MODULES if not m.is_test}
    for place in list(found):
        found.setdefault(str(Path(place).parent), set()).add(Path(place).name)
    return found


def imports_what_is_there(module: Module) -> Iterator[str]:
    for node, name in module.imports:
        if name.startswith("."):
            *place, last = name.strip(".").split(".")
            if last not in theirs().get("/".join(place) or ".", set()):
                yield module.at(node, f"nothing in the tree is called {name}")


def touches_no_world(module: Module) -> Iterator[str]:
    if module.room not in PURE:
        return
    for node, name in module.imports:
        if name.split(".")[0] in WORLDLY:
            yield module.at(node, f"{name} in a room of pure array mathematics")
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if re.fullmatch(r"open|input|print|np\.(load|save|savez|loadtxt|savetxt|genfromtxt|fromfile|memmap)", called):
            yield module.at(node, f"{called}() in a room of pure array mathematics")


def begins_with_a_docstring(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield module.at(module.tree, "no docstring says its idea")


def holds_only_a_door(module: Module) -> Iterator[str]:
    if Path(module.path).name != "__init__.py" or module.path == "__init__.py":
        return
    for node in module.tree.body[1:]:
        names_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if not names_all and not (isinstance(node, ast.ImportFrom) and node.level):
            yield module.at(node, "an `__init__` holds a docstring and re-exports")


def is_short(module: Module) -> Iterator[str]:
    if (n := len(module.text.splitlines())) > LONGEST:
        yield module.at(module.tree, f"{n} lines: split it by idea")


def swallows_nothing(module: Module) -> Iterator[str]:
    broad = {"", "Exception", "BaseException"}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = {ast.unparse(node.type) if node.type else ""}
            silent = all(ast.unparse(statement) in ("pass", "continue", "...") for statement in node.body)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught, silent = {ast.unparse(argument) for argument in node.args}, True
        else:
            continue
        if silent and caught & broad:
            yield module.at(node, "an exception is swallowed")


def runs_no_text(module: Module) -> Iterator[str]:
    if module.is_test:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads"):
                yield module.at(node, f"{ast.unparse(node.func)} runs what a file says")
            for word in node.keywords:
                if word.arg in ("shell", "allow_pickle") and not (
                    isinstance(word.value, ast.Constant) and word.value.value is False
                ):
                    yield module.at(node, f"{word.arg} runs what a file says")


def is_named_after_its_idea(module: Module) -> Iterator[str]:
    if re.fullmatch(r"(test_)?_?(utils?|helpers?|manager|misc|common|core)", Path(module.path).stem):
        yield module.at(module.tree, "the name says nothing")


PLANTED = [
    (runs_downhill, "tasks/render/x.py", "from ...workflows.recipe import Recipe"),
    (runs_downhill, "workflows/x.py", "from ..pipeline import recipe"),
    (runs_downhill, "tasks/x.py", "from .. import pipeline"),
    (keeps_to_its_packages, "tasks/grid.py", "def f():\n    import dask.array"),
    (keeps_to_its_packages, "workflows/x.py", "import yaml"),
    (keeps_to_its_packages, "pipeline/x.py", "import jax"),
    (keeps_to_its_packages, "tasks/ensemble/base.py", "import MDAnalysis"),
    (keeps_to_its_packages, "__init__.py", "import numpy"),
    (guards_optional_engines, "tasks/render/x.py", "import numba"),
    (never_imports_bare, "tests/test_x.py", "from tasks.grid import VoxelGrid"),
    (never_imports_bare, "workflows/x.py", "import cryovox.tasks.grid"),
    (takes_two_dots_at_most, "tasks/render/x.py", "from ...tasks import grid"),
    (takes_two_dots_at_most, "pipeline/clusters/x.py", "from ...configs import y"),
    (takes_two_dots_at_most, "tests/test_x.py", "from .conftest import data"),
    (imports_what_is_there, "workflows/x.py", "def f():\n    from .no_such_module import y"),
    (imports_what_is_there, "workflows/x.py", "from ..tasks.grid import NoSuchName"),
    (imports_what_is_there, "workflows/x.py", "from ..tasks import no_such_room"),
    (touches_no_world, "tasks/volume/x.py", "from pathlib import Path"),
    (touches_no_world, "tasks/render/x.py", "f = open('x')"),
    (begins_with_a_docstring, "tasks/x.py", "import json"),
    (holds_only_a_door, "tasks/x/__init__.py", "'x'\nimport json"),
    (holds_only_a_door, "tasks/x/__init__.py", "'x'\ndef f(): ..."),
    (is_short, "tasks/x.py", "x = 1\n" * (LONGEST + 1)),
    (swallows_nothing, "tasks/x.py", "try: f()\nexcept Exception: pass"),
    (swallows_nothing, "tasks/x.py", "try: f()\nexcept: ..."),
    (swallows_nothing, "tasks/x.py", "with contextlib.suppress(Exception): f()"),
    (runs_no_text, "tasks/x.py", "np.load(f, allow_pickle=True)"),
    (runs_no_text, "pipeline/x.py", "subprocess.run(c, shell=yes)"),
    (runs_no_text, "pipeline/x.py", "eval(text)"),
    (is_named_after_its_idea, "tasks/utils.py", "'x'"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in PLANTED))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module(rule):
    assert [complaint for module in MODULES for complaint in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "path", "text"), PLANTED, ids=[f"{rule.__name__}-{n}" for n, (rule, _, _) in enumerate(PLANTED)]
)
def test_a_planted_breach_is_found(rule, path, text):
    assert list(rule(Module(path, text)))


def circle(edges: dict[str, set[str]]) -> list[str]:
    """A way from a room back to itself, empty where there is none."""

    def walk(way: list[str]) -> list[str]:
        for room in sorted(edges.get(way[-1], ())):
            if room in way:
                return [*way[way.index(room) :], room]
            if found := walk([*way, room]):
                return found
        return []

    return next((found for room in sorted(edges) if (found := walk([room]))), [])


def test_no_two_rooms_import_each_other():
    edges: dict[str, set[str]] = {}
    for module in MODULES:
        if module.room and not module.is_test:
            theirs = {room_of(name) for _, name in module.imports if name.startswith(".")}
            edges.setdefault(module.room, set()).update(theirs - {module.room})
    assert circle(edges) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_rooms_of_the_table_are_the_folders():
    assert {module.room for module in MODULES if not module.is_test} == set(MAY_IMPORT)


def test_the_root_holds_one_python_file():
    assert [name for name in FILES if "/" not in name and name.endswith(".py")] == ["__init__.py"]


def test_tests_are_no_package():
    assert [name for name in FILES if name.startswith("tests/") and name.endswith("__init__.py")] == []


def test_the_top_level_is_the_prescribed_one():
    assert {name.split("/")[0] for name in FILES} <= TOP_LEVEL


def test_nothing_is_left_to_do():
    words = re.compile(rb"\b(TO" + rb"DO|FIX" + rb"ME)\b")
    binary = (".npz", ".xtc", ".dcd", ".trr", ".png")
    assert [name for name in FILES if not name.endswith(binary) and words.search((ROOT / name).read_bytes())] == []


def test_the_door_leads_where_its_types_say():
    """`_DOOR`, `__all__` and `__init__.pyi` name the same things in the same modules, and each can be had."""
    typed = {
        alias.asname or alias.name: "." * node.level + (node.module or "")
        for node in ast.parse((ROOT / "__init__.pyi").read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    door: Any = cryovox
    assert typed == door._DOOR
    assert sorted(door.__all__) == sorted(typed)
    for name, module in typed.items():
        assert getattr(door, name) is getattr(importlib.import_module(module, "cryovox"), name)
        assert name in dir(door)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = door.Nothing


def test_the_door_opens_nothing_by_itself():
    code = "import sys, cryovox; print(sorted({'numpy', 'jax', 'dask', 'zarr', 'MDAnalysis', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
