"""Which files a user's words mean: names, globs and folders, in natural order, without what tools leave beside."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from glob import iglob
from itertools import islice
from pathlib import Path

from ..errors import Problem, Refusal
from .sources import STRUCTURES, is_array_folder

MOST = 100_000
"""Files of one ensemble: each is opened once a frame, and a folder of more is slow on every file system."""
SAMPLE = re.compile(r"seed-(\d+)_sample-(\d+)")
"""AlphaFold 3's folder of one sample."""

_WHERE = "ensemble.coordinates"


def natural_key(name: str) -> tuple[tuple[str | int, ...], ...]:
    """Sorts as people count: `x2` before `x10`, and `traj.xtc` before `traj.part0002.xtc`."""
    stem, dot, ending = name.rpartition(".")
    parts = (stem, ending) if dot and stem else (name, "")
    # text and digits take turns, so like meets like; the name itself decides between `x1` and `x01`
    split = (enumerate(re.split(r"([0-9]+)", part.casefold())) for part in parts)
    return (*(tuple(int(s) if i % 2 else s for i, s in pieces) for pieces in split), (name,))


def path_key(path: Path) -> tuple[tuple[tuple[str | int, ...], ...], ...]:
    """`natural_key` of every folder on the way, then of the file."""
    return tuple(natural_key(part) for part in path.parts)


def ending(path: Path) -> str:
    """What a file's name says of its format: `.cif` of `model.cif` and of `model.CIF.gz`; `.gz` of what is not read so."""
    stem, dot, last = path.name.lower().rpartition(".")
    if last == "gz" and stem.endswith((*STRUCTURES, ".gro")):
        stem, dot, last = stem.rpartition(".")
    return dot + last if stem else ""


def is_leftover(path: Path) -> bool:
    """Hidden files (MDAnalysis' offsets among them), GROMACS' `#backups#` and editors' `copies~`."""
    return path.name.startswith(".") or path.name.endswith("~") or re.fullmatch(r"#.+#", path.name) is not None


def entries(folder: Path) -> list[Path]:
    """What is in a folder and was meant to be there, in natural order. Raises `Refusal` where it cannot be read."""
    try:
        listed = [path for path in islice(folder.iterdir(), 20 * MOST) if not is_leftover(path)]
    except OSError as error:
        why = error.strerror or str(error)
        raise Refusal(Problem("the folder cannot be read", str(folder), why, fix="check its permissions and its disk")) from error
    if len(listed) >= 20 * MOST:
        fix = "write the structures into one multi-model file or trajectory"
        raise Refusal(Problem("the folder holds too many files", str(folder), f"{len(listed):,} or more", fix=fix))
    return sorted(listed, key=lambda path: natural_key(path.name))


def bare(path: Path) -> str:
    """A file's name without its ending."""
    return path.name[: path.name.lower().rindex(ending(path))] if ending(path) else path.name


def samples(folder: Path) -> list[Path]:
    """AlphaFold 3's models in its folders of samples, by seed and sample; empty where there are none."""
    return _of_samples(entries(folder))


def structures(folder: Path) -> list[Path]:
    """The structure files that lie in a folder itself."""
    return _of_structures(entries(folder))


def _of_samples(inside: Iterable[Path]) -> list[Path]:
    folders = [path for path in inside if SAMPLE.fullmatch(path.name) and path.is_dir()]
    return [path for sample in folders for path in structures(sample) if bare(path).endswith("model")]


def _of_structures(inside: Iterable[Path]) -> list[Path]:
    return [path for path in inside if ending(path) in STRUCTURES and (path.is_file() or path.is_symlink())]


def expand(patterns: Sequence[str], folder: Path) -> list[Path]:
    """The files that the recipe's `coordinates` names, in the order of `patterns` and naturally within each.

    A pattern, relative to `folder`, is a file's name, a glob with `*` and `?` (a name that exists is taken as it stands), or a
    folder of structures; of an AlphaFold 3 folder, the samples without the copy of the best one on top. Whether a single name
    exists is not looked at here. What is named twice is there twice, see `repeated`.

    Raises `Refusal` for a glob with no match, a folder without structures, and more than 100,000 files.
    """
    found: list[Path] = []
    problems: list[Problem] = []
    for pattern in patterns:
        path = folder / pattern
        if (problem := _out_of_reach(path)) is not None:
            problems.append(problem)
            continue
        if path.is_dir() and not is_array_folder(path):
            listed = entries(path)
            inside = _of_samples(listed) or _of_structures(listed)
            if not inside:
                problems.append(_no_structures(path))
        elif ("*" in pattern or "?" in pattern) and not path.exists():
            inside = sorted(islice(_matches(pattern, folder), MOST + 1), key=path_key)
            if not inside:
                problems.append(_no_match(pattern, path))
        else:
            inside = [path]
        found += inside
    if len(found) > MOST:
        problems.append(_too_many(len(found)))
    if problems:
        raise Refusal(problems)
    return found


def _out_of_reach(path: Path) -> Problem | None:
    """A name that no file system takes, or a folder that may not be entered."""
    try:
        path.is_dir()
    except OSError as error:
        why, fix = error.strerror or str(error), "correct the path; check permissions and disk"
        return Problem("the file cannot be opened", f"{_WHERE}: {path}", why, "a file in reach", fix)
    return None


def repeated(paths: Iterable[Path]) -> tuple[str, ...]:
    """A note on every file that is there more than once, under whatever name."""
    counts = Counter(path.resolve() for path in paths)
    return tuple(f"{path.name} is named {n} times: its frames are drawn {n} times" for path, n in counts.items() if n > 1)


def _matches(pattern: str, folder: Path) -> Iterator[Path]:
    # only * and ? are special in a recipe: brackets are common in the names of files
    text = pattern.replace("[", "[[]")
    for name in iglob(text, root_dir=folder):  # noqa: PTH207  (Path.glob takes no absolute pattern)
        path = folder / name
        if not is_leftover(path) and (path.is_file() or is_array_folder(path)):
            yield path


def beside(path: Path, wanted: Iterable[str] = ()) -> str:
    """Up to five files near `path`, preferably with these endings, as a clause; empty where there is nothing."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    there = [other.name for other in islice(path.parent.iterdir(), MOST) if not is_leftover(other)]
    alike = [name for name in there if ending(Path(name)) in set(wanted)] or there
    some = sorted(alike, key=natural_key)[:5]
    more = f" and {len(alike) - len(some)} more" if len(alike) > len(some) else ""
    return f"beside it there is {', '.join(some)}{more}" if some else "its folder is empty"


def _no_match(pattern: str, path: Path) -> Problem:
    return Problem(
        "no file has such a name",
        f"{_WHERE}: {pattern}",
        "0 files",
        "at least one; * stands for any letters within a name, ? for one",
        f"paths count from the recipe's folder; {beside(path, [path.suffix.lower()])}",
    )


def _no_structures(folder: Path) -> Problem:
    return Problem(
        "the folder holds no structures",
        f"{_WHERE}: {folder}",
        beside(folder / "x").removeprefix("beside it there is "),
        f"files {', '.join(STRUCTURES)}, which may be gzipped",
        "name the trajectory in it, or the folder that has the structures",
    )


def _too_many(n: int) -> Problem:
    return Problem(
        "too many files",
        _WHERE,
        f"{n} or more" if n > MOST else str(n),
        f"at most {MOST:,}",
        "write them into one multi-model file or trajectory",
    )
