"""A ChimeraX script that shows exported volumes as what they are: one object that moves.

ChimeraX goes to the script's folder while it runs it (https://www.cgl.ucsf.edu/chimerax/docs/devel/modules/core/scripting.html),
so its paths are relative to that. The commands: https://www.cgl.ucsf.edu/chimerax/docs/user/commands/ open, volume, vseries,
perframe, alias, coordset. ChimeraX has no volume stacks: it opens one as a single tall map, of which a volume is a region.
"""

from collections.abc import Iterator
from dataclasses import dataclass

COLOR = "#6495ed"
REDRAWS = 4
"""Of the screen, for each volume: some fifteen volumes a second."""
BETWEEN = 10
"""Steps of a morph from one volume to the next."""


@dataclass(frozen=True)
class Series:
    """What is to be shown; triples are (z, y, x)."""

    name: str
    """Of the store."""
    files: str
    """The volumes' file, or a pattern of all of them, relative to the script."""
    n_volumes: int
    stack: bool
    shape: tuple[int, int, int]
    """Voxels of a volume."""
    first: tuple[int, int, int]
    """Where the first voxel stands, counted from the one at the atoms' origin."""
    on_atoms: bool
    """Whether the files put it there, and not at 0."""
    level: float | None
    """Contour level, in the voxels' units; None leaves it to ChimeraX."""
    voxel_size: float
    """Å."""
    structure: str | None = None
    """PDB file of the placed atoms, relative to the script."""
    trajectory: str | None = None
    """Their DCD file."""


def series_script(series: Series) -> str:
    """The text of the script: volumes are model #1, atoms #2. Raises `ValueError` for a path that cannot be quoted."""
    return "\n".join([*_head(series), "", *_opened(series), *_atoms(series), "view", "", *_played(series), ""])


def _head(series: Series) -> Iterator[str]:
    many = f"{series.n_volumes} volumes" if series.n_volumes > 1 else "one volume"
    yield f"# {many} of {''.join(c if c.isprintable() else '?' for c in series.name)}, written by cryovox export."
    yield "# Open this file in a ChimeraX that has nothing else open; paths are relative to its folder."


def _opened(series: Series) -> Iterator[str]:
    look = f"style surface step 1{'' if series.level is None else f' level {series.level:.6g}'} color {COLOR}"
    if series.stack:
        z, y, x = series.shape
        yield f"open {series.files}"
        yield f"volume #1 show region 0,0,0,{x - 1},{y - 1},{z - 1} originIndex {_index(series, 0)} {look}"
        return
    yield f"open {series.files}{' vseries true' if series.n_volumes > 1 else ''}"
    yield f"volume #1 {look}"


def _index(series: Series, z: int | str) -> str:
    """Which voxel of a stack is put at 0 where the volume that begins at section `z` is shown."""
    back, down, left = (-n if series.on_atoms or series.trajectory else 0 for n in series.first)
    return f"{left},{down},{z if isinstance(z, str) else z + back}"


def _atoms(series: Series) -> Iterator[str]:
    if series.structure is None or series.trajectory is None:
        return
    if not (series.on_atoms or series.stack):
        yield "# the files put their first voxel at 0: back to the atoms"
        z, y, x = (n * series.voxel_size for n in series.first)
        yield f"volume #1 origin {x:.6g},{y:.6g},{z:.6g}"
    yield f"open {quoted(series.structure)}"
    yield f"open {quoted(series.trajectory)} structureModel #2"
    yield "volume #1 transparency 0.5"


def _played(series: Series) -> Iterator[str]:
    n = series.n_volumes
    if n == 1:
        return
    z, y, x = series.shape
    each, ranges = [], []
    if series.stack:
        back = int(_index(series, 0).split(",")[2])
        each.append(f"volume #1 region 0,0,$1,{x - 1},{y - 1},$2 originIndex {_index(series, '$3')}")
        ranges += [(at, at + (n - 1) * z, z) for at in (0, z - 1, back)]
    elif series.trajectory is not None:
        each.append("vseries play #1 jumpTo $1")
        ranges.append((0, n - 1, 1))
    if series.trajectory is not None:
        each.append(f"coordset #2 ${len(ranges) + 1}")
        ranges.append((1, n, 1))
    if each:
        spans = " ".join(f"range {first},{last},{step}" for first, last, step in ranges)
        yield "# play once; stopped by: ~perframe"
        yield f'perframe "{"; ".join(each)}" {spans} format %d interval {REDRAWS}'
    else:
        yield "# play to and fro; stopped by: vseries stop #1"
        yield f"vseries play #1 loop true direction oscillate pauseFrames {REDRAWS}"
    yield ""
    if series.stack:
        yield "# To morph, export without --stack: ChimeraX morphs between maps, and a stack is one map to it."
    else:
        steps = BETWEEN * (n - 1)
        stop = "~perframe" if series.trajectory is not None else "vseries stop #1"
        yield "# The command cryovox_morph interpolates between the volumes, all of which it holds in memory."
        yield f'alias cryovox_morph "{stop}; volume morph #1 frames {2 * steps} playStep {1 / steps:.6g}"'


def quoted(path: str) -> str:
    """A path as ChimeraX's commands take it. Raises `ValueError` where no quotes hold it."""
    if not path.isprintable() or "\\" in path or ('"' in path and "'" in path):
        raise ValueError(f"no ChimeraX command can name {path!r}")
    return f"'{path}'" if '"' in path else f'"{path}"'
