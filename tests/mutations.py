"""Files damaged at random, by recipes that a seed repeats, and small real files to be damaged."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryovox.tasks.ensemble.settings import TrajectorySettings

WORDS = (b"nan", b"inf", b"-inf", b"1e300", b"-1", b"0", b"********", b"9999999999", b"?", b".", b"", b"-9999.999", b"\xc3\xa9")
NUMBERS = (0, 1, -1, 2, 0x7FFFFFFF, -0x80000000, 0x10000, 0x7F800000, 0x7FC00000, 0x00FFFFFF, 0x40000000, 1 << 28, 13, 100)


def _bits(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    places = random.integers(0, 8 * len(raw), int(random.choice([1, 1, 1, 4, 16])))
    for place in places.tolist():
        raw[place // 8] ^= 1 << (place % 8)
    return f"bits {places.tolist()}"


def _run(raw: bytearray, random: np.random.Generator) -> slice:
    length = int(min(len(raw), 2 ** random.integers(0, 12)))
    start = int(random.integers(0, len(raw) - length + 1))
    return slice(start, start + length)


def _zeros(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    run = _run(raw, random)
    raw[run] = bytes(run.stop - run.start)
    return f"zeros {run.start}:{run.stop}"


def _noise(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    run = _run(raw, random)
    raw[run] = random.bytes(run.stop - run.start)
    return f"noise {run.start}:{run.stop}"


def _cut(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    size = int(random.integers(1, len(raw)))
    del raw[size:]
    return f"cut at {size}"


def _insert(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    place, n = int(random.integers(0, len(raw))), int(2 ** random.integers(0, 9))
    raw[place:place] = random.bytes(n)
    return f"{n} bytes inserted at {place}"


def _repeat(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    run, place = _run(raw, random), int(random.integers(0, len(raw)))
    raw[place:place] = raw[run]
    return f"{run.start}:{run.stop} again at {place}"


def _remove(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    run = _run(raw, random)
    del raw[run]
    raw += b"\n" * (not raw)
    return f"{run.start}:{run.stop} removed"


def _digits(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    """Two digits change places: a text says another number then."""
    places = np.flatnonzero((np.frombuffer(raw, np.uint8) >= 48) & (np.frombuffer(raw, np.uint8) <= 57))
    if len(places) < 2:
        return _bits(raw, random, heads)
    a, b = (int(x) for x in random.choice(places, 2, replace=False))
    raw[a], raw[b] = raw[b], raw[a]
    return f"digits {a} and {b} exchanged"


def _words(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    """One to three words replaced, in place or moving the rest of the line."""
    said = []
    for _ in range(int(random.integers(1, 4))):
        near = int(random.integers(0, len(raw)))
        begin = max(raw.rfind(mark, 0, near) for mark in (b" ", b"\n")) + 1
        end = min((at for mark in (b" ", b"\n") if (at := raw.find(mark, begin)) >= 0), default=len(raw))
        word = WORDS[int(random.integers(len(WORDS)))]
        if random.random() < 0.5:
            word = word[: end - begin].rjust(end - begin)
        said.append(f"{bytes(raw[begin:end])!r} at {begin} is {word!r}")
        raw[begin:end] = word
    return "; ".join(said)


def _lines(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    """A run of lines is left out, comes again, or changes places with another."""
    lines = bytes(raw).splitlines(keepends=True)
    n, what = int(random.choice([1, 2, 10, 100])), str(random.choice(["left out", "again", "moved"]))
    a, b = (int(x) for x in random.integers(0, len(lines), 2))
    block = lines[a : a + n]
    if what != "again":
        del lines[a : a + n]
    if what != "left out":
        lines[b:b] = block
    raw[:] = b"".join(lines) or b"\n"
    return f"lines {a}:{a + n} {what}, {b}"


def _header(raw: bytearray, random: np.random.Generator, heads: list[int]) -> str:
    """Four bytes of a header, the file's or a frame's, become an extreme number."""
    head = heads[int(random.integers(len(heads)))]
    place = min(head + 4 * int(random.integers(0, 24)), max(0, len(raw) - 4))
    number, order = NUMBERS[int(random.integers(len(NUMBERS)))], ("big", "little")[int(random.integers(2))]
    raw[place : place + 4] = (number % (1 << 32)).to_bytes(4, order)
    return f"{number} at {place}, {order}-endian"


ANY = (_bits, _bits, _zeros, _noise, _cut, _insert, _repeat, _remove)
TEXT = (*ANY, _digits, _words, _words, _words, _lines)
BINARY = (*ANY, _header, _header, _header)


@dataclass(frozen=True)
class Target:
    """A file that is to be damaged, in an ensemble of its own."""

    name: str
    settings: TrajectorySettings
    damages: tuple[Callable[[bytearray, np.random.Generator, list[int]], str], ...]
    heads: list[int]
    """Bytes at which headers start: the file's, the frames'."""

    def damaged(self, raw: bytes, seed: int) -> tuple[bytes, str]:
        """Another content, never the same, and what was done to it."""
        random = np.random.default_rng([zlib.crc32(self.name.encode()), seed])
        while True:
            out = bytearray(raw)
            damage = self.damages[int(random.integers(len(self.damages)))]
            said = damage(out, random, self.heads)
            if bytes(out) != raw:
                return bytes(out), said


RESIDUES, FRAMES = 40, 5


class Files:
    """`heavy`: AdK's heavy atoms in some frames (`look_alikes.heavy`); of these the first `RESIDUES` residues are written."""

    def __init__(self, folder: Path, heavy):
        n = sum(number <= RESIDUES for number in heavy.numbers)
        self.folder, self._atoms = folder, heavy
        self._names, self._residues, self._numbers = heavy.names[:n], heavy.residues[:n], heavy.numbers[:n]
        self.positions = heavy.positions[:FRAMES, :n].astype(np.float32).round(3)
        self.targets = {name: make() for name, make in self._makers().items()}

    def _makers(self) -> dict[str, Callable[[], Target]]:
        return {
            "pdb": self._pdb, "mmcif": self._mmcif, "xtc": self._xtc, "trr": self._trr, "dcd": self._dcd, "npy": self._npy,
            "npz": self._npz, "ncdf": self._ncdf, "gro": self._gro, "psf": self._psf,
        }  # fmt: skip

    def _models(self, frames: int) -> str:
        lines = []
        for frame in range(frames):
            lines.append(f"MODEL     {frame + 1:>4}")
            for i, (x, y, z) in enumerate(self.positions[frame]):
                name, residue, number = self._names[i], self._residues[i], self._numbers[i]
                place, rest = f"{x:8.3f}{y:8.3f}{z:8.3f}", f"{1:6.2f}{20:6.2f}          {name[0]:>2}  "
                lines.append(f"ATOM  {i + 1:>5}  {name:<3} {residue:>3} A{number:>4}    {place}{rest}")
            lines.append("ENDMDL")
        return "\n".join([*lines, "END", ""])

    def _beside(self) -> str:
        (self.folder / "top.pdb").write_text(self._models(1))
        return "top.pdb"

    def _pdb(self) -> Target:
        (self.folder / "models.pdb").write_text(self._models(FRAMES))
        return Target("models.pdb", TrajectorySettings("models.pdb"), TEXT, [0])

    def _mmcif(self) -> Target:
        columns = [
            "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id", "label_seq_id",
            "Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "pdbx_PDB_model_num",
        ]  # fmt: skip
        rows = [
            f"ATOM {i + 1} {self._names[i][0]} {self._names[i]} . {self._residues[i]} A {self._numbers[i]} "
            f"{x:.3f} {y:.3f} {z:.3f} 1.00 20.00 {frame + 1}"
            for frame in range(FRAMES)
            for i, (x, y, z) in enumerate(self.positions[frame])
        ]
        text = "\n".join(["data_adk", "loop_", *(f"_atom_site.{column}" for column in columns), *rows, "#", ""])
        (self.folder / "models.cif").write_text(text)
        return Target("models.cif", TrajectorySettings("models.cif"), TEXT, [0])

    def _xdr(self, kind: str) -> Target:
        from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile

        path, box = self.folder / f"traj.{kind}", np.diag([9.0, 9.0, 9.0]).astype(np.float32)
        with (XTCFile if kind == "xtc" else TRRFile)(str(path), "w") as file:
            for i, points in enumerate(self.positions):
                if kind == "xtc":
                    file.write(points / 10, box, i, float(i), 1000.0)
                else:
                    file.write(points / 10, None, None, box, i, float(i), 0.0, len(points))
        with (XTCFile if kind == "xtc" else TRRFile)(str(path)) as file:
            heads = [int(offset) for offset in file.offsets]
        return Target(path.name, TrajectorySettings(path.name, self._beside()), BINARY, heads)

    def _xtc(self) -> Target:
        return self._xdr("xtc")

    def _trr(self) -> Target:
        return self._xdr("trr")

    def _dcd(self) -> Target:
        from MDAnalysis.lib.formats.libdcd import DCDFile

        with DCDFile(str(self.folder / "traj.dcd"), "w") as file:
            file.write_header("made for a test", self.positions.shape[1], 0, 1, 1.0, 1)
            for points in self.positions:
                file.write(points, [90.0, 90.0, 90.0, 90.0, 90.0, 90.0])
        size = (self.folder / "traj.dcd").stat().st_size
        step = 3 * (4 * self.positions.shape[1] + 8) + 56
        heads = [0, 0, 96, *range(size - FRAMES * step, size, step)]
        return Target("traj.dcd", TrajectorySettings("traj.dcd", self._beside()), BINARY, heads)

    def _npy(self) -> Target:
        np.save(self.folder / "points.npy", self.positions)
        return Target("points.npy", TrajectorySettings("points.npy", self._beside()), (*BINARY, _digits, _words), [0])

    def _npz(self) -> Target:
        path = self.folder / "points.npz"
        np.savez_compressed(path, positions=self.positions, energies=np.arange(FRAMES))
        heads = [0, path.read_bytes().index(b"PK\x01\x02")]
        return Target(path.name, TrajectorySettings(path.name, self._beside()), BINARY, heads)

    def _ncdf(self) -> Target:
        from scipy.io import netcdf_file

        path, m = self.folder / "traj.nc", self.positions.shape[1]
        with netcdf_file(str(path), "w", version=2) as file:
            file.Conventions, file.ConventionVersion = "AMBER", "1.0"
            for name, size in {"frame": None, "atom": m, "spatial": 3, "cell_spatial": 3, "cell_angular": 3}.items():
                file.createDimension(name, size)
            coordinates = file.createVariable("coordinates", "f4", ("frame", "atom", "spatial"))
            coordinates.units = "angstrom"
            lengths = file.createVariable("cell_lengths", "f8", ("frame", "cell_spatial"))
            angles = file.createVariable("cell_angles", "f8", ("frame", "cell_angular"))
            for i, points in enumerate(self.positions):
                coordinates[i], lengths[i], angles[i] = points, [90.0] * 3, [90.0] * 3
        return Target(path.name, TrajectorySettings(path.name, self._beside()), BINARY, [0, 96, 192, 288, 384])

    def _gro(self) -> Target:
        lines = ["made for a test", f"{len(self._names):>5}"]
        for i, (x, y, z) in enumerate(self.positions[0] / 10):
            lines.append(f"{self._numbers[i]:>5}{self._residues[i]:<5}{self._names[i]:>5}{i + 1:>5}{x:8.3f}{y:8.3f}{z:8.3f}")
        (self.folder / "conf.gro").write_text("\n".join([*lines, "   9.00000   9.00000   9.00000", ""]))
        return Target("conf.gro", TrajectorySettings(self._xtc().name, "conf.gro"), TEXT, [0])

    def _psf(self) -> Target:
        lines = ["PSF", "", "       1 !NTITLE", " REMARKS made for a test", "", f"{len(self._names):>8} !NATOM"]
        for i, (name, residue) in enumerate(zip(self._names, self._residues, strict=True)):
            mass = {"C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06}[name[0]]
            lines.append(
                f"{i + 1:>8} A    {self._numbers[i]:<4} {residue:<4} {name:<4} {name[0]:<4} {0.0:>10.6f} {mass:>13.4f} {0:>11}"
            )
        apart = np.linalg.norm(self.positions[0][:, None] - self.positions[0], axis=2)
        bonds = [(int(i) + 1, int(j) + 1) for i, j in np.argwhere(np.triu(apart < 1.9, 1))]
        numbers = [f"{number:>8}" for bond in bonds for number in bond]
        lines += ["", f"{len(bonds):>8} !NBOND: bonds", *("".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)), ""]
        for name in ("NTHETA: angles", "NPHI: dihedrals", "NIMPHI: impropers", "NDON: donors", "NACC: acceptors"):
            lines += [f"{0:>8} !{name}", "", ""]
        (self.folder / "top.psf").write_text("\n".join(lines))
        return Target("top.psf", TrajectorySettings(self._dcd().name, "top.psf"), TEXT, [0])
