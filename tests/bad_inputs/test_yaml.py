"""YAML: every line of the list of bad inputs is refused from the text alone, with the place of the mistake."""

import pytest

GOOD = "ensemble:\n  topology: good.pdb\n  coordinates: good.xtc\nstore: {path: out.zarr}\n"


def written(text):
    return lambda bench: bench.text(text)


def more(text):
    return written(GOOD + text)


def bomb():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)), ""])


def raw(data):
    return lambda bench: bench.bytes(data)


SIZE = "grid.voxel_size"
CASES = {
    "missing recipe": (lambda bench: bench.folder / "no.yaml", "no such file", "no.yaml", None, None, "check the path"),
    "a folder": (lambda bench: bench.folder, "a folder is not a YAML file", "", "a folder", "a YAML file", "name the file in it"),
    "not YAML (line:col)": (more("grid: [1,\n2"), "not YAML", "recipe.yaml:6:2", "", None, "brackets"),
    "not YAML: two colons": (more("grid: voxel_size: 3"), "not YAML", "recipe.yaml:5:17", "", None, "check quotes"),
    "empty": (written(""), "the file is empty", "recipe.yaml", "0 bytes", "`key: value` lines", "configs/"),
    "only a comment": (
        written("# later\n"), "the file is empty", "recipe.yaml", "only comments", "`key: value` lines", "configs/",
    ),
    "a list on top": (written("- a\n- b\n"), "holds no keys", "recipe.yaml:1", "a list", "`key: value`", "configs/"),
    "a word on top": (written("volumes\n"), "holds no keys", "recipe.yaml:1", "volumes alone", "`key: value`", "configs/"),
    "unknown key (did you mean)": (
        more("grid:\n  voxelsize: 1.0\n"), "unknown key `grid.voxelsize`", "recipe.yaml:6", "voxelsize: 1", None,
        "did you mean `voxel_size`?",
    ),
    "unknown key like no other": (
        more("colour: red\n"), "unknown key `colour`", "recipe.yaml:5", "red", "`ensemble`", "remove it",
    ),
    "duplicate key": (more("store: {path: b.zarr}\n"), "`store` is written twice", "recipe.yaml:5", ":4", "one value", "remove"),
    "wrong type": (more("grid: {voxel_size: '1.0'}\n"), f"`{SIZE}`", "recipe.yaml:5", "1.0", "a number", "without quotes"),
    "wrong type: a list": (more("grid: {padding: [1, 2]}\n"), "`grid.padding`", ":5", "[1, 2]", "a number", "`padding: 8.0`"),
    "missing key": (
        written("ensemble: {topology: good.pdb}\nstore: {path: a}\n"),
        "`ensemble.coordinates` is missing", ":1", None, "Files of frames", "add `coordinates:` under `ensemble`",
    ),
    "missing section": (
        written("store: {path: a}\n"), "`ensemble` is missing", "recipe.yaml", None, "a section", "add `ensemble:`",
    ),
    "non-positive size": (more("grid: {voxel_size: 0}\n"), f"`{SIZE}`", ":5", "0", "above 0", "`voxel_size: 1.0`"),
    "negative size": (more("grid: {voxel_size: -2}\n"), f"`{SIZE}`", ":5", "-2", "above 0", "`voxel_size: 1.0`"),
    "NaN size": (more("grid: {voxel_size: .nan}\n"), f"`{SIZE}`", ":5", ".nan", "above 0", "`voxel_size: 1.0`"),
    "inf size": (more("grid: {padding: .inf}\n"), "`grid.padding`", ":5", ".inf", "at least 0", "`padding: 8.0`"),
    "no voxels": (more("grid: {shape: [64, 0, 64]}\n"), "`grid.shape`", ":5", "[64, 0, 64]", "at least 1", "`shape: auto`"),
    "nm/Å mix-up by magnitude": (more("grid: {voxel_size: 0.1}\n"), f"`{SIZE}`", ":5", "0.1", "Å", "`voxel_size: 1`"),
    "nm/Å mix-up of the padding": (more("grid: {padding: 0.8}\n"), "`grid.padding`", ":5", "0.8", "Å", "`padding: 8`"),
    "python tags": (more("x: !!python/object/apply:os.mkdir [owned]\n"), "tags", ":5", "!!python", "a plain value", "remove"),
    "alias bomb": (written(bomb()), "too many values", "recipe.yaml:", "more than", "10,000 values", "write fewer"),
    "> 1 MiB": (written(GOOD + "#" * 2**20), "too large", "recipe.yaml", "over 1 MiB", "a few kB", "the right file"),
    "depth > 20": (more("x: " + "[" * 30 + "]" * 30), "nested too deep", ":5", "21", "20 levels", "brackets"),
    "conflicting options": (
        more("render: {sampling: point}\n"), "`render.sampling`", ":5", "`method: gaussian`", None, "`method: fft`",
    ),
    "conflicting B-factor": (
        more("scattering: {b_factor: {policy: none, value: 20}}\n"),
        "`scattering.b_factor.value` is not used", ":5", "`policy: none`", None, "`policy: constant`",
    ),
    "conflicting bits": (
        written(GOOD.replace("out.zarr", "out.zarr, dtype: float16, keepbits: 16")),
        "`store.keepbits`", ":4", "10 mantissa bits", None, "`dtype: float32`",
    ),
    "non-UTF-8": (raw(GOOD.encode() + b"# \xc5ngstr\xf6m\n"), "wrong encoding", "recipe.yaml:5", "0xc5", "UTF-8", "save it"),
    "UTF-16": (raw(GOOD.encode("utf-16")), "wrong encoding", "recipe.yaml:1", "UTF-16", "plain UTF-8", "without BOM"),
    "BOM": (raw(b"\xef\xbb\xbf" + GOOD.encode()), "wrong encoding", "recipe.yaml:1", "byte-order mark", "UTF-8", "without BOM"),
    "tabs": (more("grid:\n\tvoxel_size: 1.0\n"), "a tab", "recipe.yaml:6:1", "a tab", "spaces", "use spaces"),
    "newer schema": (more("schema: 2\n"), "unknown key `schema`", ":5", "schema: 2", "`ensemble`", "newer"),
    "YAML 1.1": (written("%YAML 1.1\n---\n" + GOOD), "not YAML 1.2", "recipe.yaml:2", "%YAML 1.1", "YAML 1.2", "remove"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_from_its_text(refused, case):
    refused(*case)


def test_nothing_that_a_tag_asks_for_is_done(refused, bench):
    refused(*CASES["python tags"])
    assert not (bench.folder / "owned").exists()


def test_all_problems_are_told_together(refused):
    text = refused(more("grid: {voxel_size: -1, paddin: 3}\nrender: {tolerance: 1}\n"), f"`{SIZE}`", ":5", "-1", "above 0", "")
    assert text.count("where:") == 3
