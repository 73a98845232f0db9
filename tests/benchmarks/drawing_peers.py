"""The peers' contestants, run by the Python of a peer's environment: PEER/bin/python tests/benchmarks/drawing_peers.py CORES

Each is used as its own documentation says, set up as favourably as it allows: compiled and warm, models built beforehand, the
same amplitudes and variances as ours handed over where an API takes them. All of them draw a dense box.
"""

import sys
from pathlib import Path
from typing import Any

from answering import Contestant, answer, frames_of, stay_on, versions

if __name__ == "__main__":
    stay_on(sys.argv[1])

import numpy as np

Found = tuple[Contestant, dict[str, str]]


class Gemmi:
    """`DensityCalculatorE` on a periodic P1 box whose corner is its origin; values at grid points; one thread."""

    def __init__(self, asked: dict[str, Any]):
        import gemmi

        given, h, (nz, ny, nx) = frames_of(asked["inputs"]), asked["voxel_size"], asked["shape"]
        structure = gemmi.Structure()
        structure.cell = gemmi.UnitCell(nx * h, ny * h, nz * h, 90, 90, 90)
        structure.spacegroup_hm = "P 1"
        self.calculator = gemmi.DensityCalculatorE()
        self.calculator.d_min, self.calculator.rate = 2 * h, 1.0  # grid spacing: d_min / (2 rate)
        self.calculator.cutoff = asked["cutoff"]
        self.calculator.set_grid_cell_and_spacegroup(structure)
        centre = h * (np.array([nx, ny, nz]) // 2)
        self.models = [self._model(gemmi, frame + centre, given["numbers"], asked["b_factor"]) for frame in given["positions"]]
        self.calculator.initialize_grid()
        if self.calculator.grid.shape != (nx, ny, nz):
            raise ValueError(f"gemmi chose a grid of {self.calculator.grid.shape}, wanted {(nx, ny, nz)}")

    @staticmethod
    def _model(gemmi: Any, positions: np.ndarray, numbers: np.ndarray, b_factor: float) -> Any:
        residue = gemmi.Residue()
        elements = {int(z): gemmi.Element(int(z)) for z in np.unique(numbers)}
        for (x, y, z), number in zip(positions.tolist(), numbers.tolist(), strict=True):
            atom = gemmi.Atom()
            atom.element, atom.pos, atom.b_iso, atom.occ = elements[number], gemmi.Position(x, y, z), b_factor, 1.0
            residue.add_atom(atom)
        chain, model = gemmi.Chain("A"), gemmi.Model(1)
        chain.add_residue(residue)
        model.add_chain(chain)
        return model

    def go(self, n: int) -> None:
        """Zeroes the grid and adds the model, a frame after the other."""
        for frame in range(n):
            self.calculator.put_model_density_on_grid(self.models[frame % len(self.models)])

    def volume(self) -> np.ndarray:
        """gemmi's grid is indexed (x, y, z)."""
        self.go(1)
        return np.array(self.calculator.grid.array).transpose(2, 1, 0)


class GemmiToMRC(Gemmi):
    """The loop that many write: gemmi's grid into one MRC file a frame."""

    def __init__(self, asked: dict[str, Any]):
        super().__init__(asked)
        self.folder, self.voxel_size = Path(asked["folder"]), asked["voxel_size"]

    def go(self, n: int) -> None:
        """Draws and writes; files of the last call are overwritten."""
        import mrcfile

        for frame in range(n):
            self.calculator.put_model_density_on_grid(self.models[frame % len(self.models)])
            # gemmi's memory is already (z, y, x) with x fastest: a view, no copy
            volume = self.calculator.grid.array.T
            with mrcfile.new(self.folder / f"{frame:05d}.mrc", volume, overwrite=True) as file:
                file.voxel_size = self.voxel_size


class CryoJAX:
    """Any of cryoJAX's renderers, compiled once: positions go in, a box comes out."""

    def __init__(self, asked: dict[str, Any]):
        import equinox as eqx
        import jax
        import jax.numpy as jnp

        self.jax, given = jax, frames_of(asked["inputs"])
        volume, self.positions = self._volume(asked, given, jnp)
        self.compiled = eqx.filter_jit(lambda positions, rest: rest[1](volume(positions, rest[0])))
        self.rest = self._constants(given, jnp), self._render_fn(asked)

    def _volume(self, asked: dict[str, Any], given: dict[str, np.ndarray], jnp: Any) -> tuple[Any, list[Any]]:
        from cryojax.simulator import GaussianMixtureVolume

        frames = [np.asarray(frame, np.float32) for frame in given["positions"]]
        return (lambda positions, gaussians: GaussianMixtureVolume(positions, *gaussians)), frames

    def _constants(self, given: dict[str, np.ndarray], jnp: Any) -> Any:
        return tuple(jnp.asarray(given[name], jnp.float32) for name in ("amplitudes", "variances"))

    def _render_fn(self, asked: dict[str, Any]) -> Any:
        from cryojax.simulator import GaussianMixtureRenderFn

        return GaussianMixtureRenderFn(tuple(asked["shape"]), asked["voxel_size"], **asked["options"])

    def draw(self, frame: int) -> Any:
        """Waits for the box."""
        return self.jax.block_until_ready(self.compiled(self.positions[frame % len(self.positions)], self.rest))

    def go(self, n: int) -> None:
        """One frame after another."""
        for frame in range(n):
            self.draw(frame)

    def volume(self) -> np.ndarray:
        """(z, y, x), origin at voxel n//2 as with us."""
        return np.asarray(self.draw(0))


class CryoJAXTransforms(CryoJAX):
    """`FFTAtomRenderFn` of 0.5.6: one complex transform an element."""

    def _volume(self, asked: dict[str, Any], given: dict[str, np.ndarray], jnp: Any) -> tuple[Any, list[Any]]:
        from cryojax.constants import LobatoScatteringFactorParameters, PengScatteringFactorParameters
        from cryojax.simulator import IndependentAtomVolume

        kind = {"peng1996": PengScatteringFactorParameters, "lobato2014": LobatoScatteringFactorParameters}[asked["table"]]
        elements = np.unique(given["numbers"])
        parameters, b_factor = kind(elements), asked["b_factor"]

        def volume(positions: Any, _: Any) -> Any:
            return IndependentAtomVolume.from_tabulated_parameters(positions, parameters, b_factor_by_element=b_factor)

        of = [np.flatnonzero(given["numbers"] == z) for z in elements]
        return volume, [tuple(np.asarray(frame[i], np.float32) for i in of) for frame in given["positions"]]

    def _constants(self, given: dict[str, np.ndarray], jnp: Any) -> Any:
        return ()

    def _render_fn(self, asked: dict[str, Any]) -> Any:
        from cryojax.simulator import FFTAtomRenderFn

        return FFTAtomRenderFn(tuple(asked["shape"]), asked["voxel_size"], **asked["options"])


class CryoJAXToZarr(CryoJAX):
    """A loop that writes each box into a zarr-python array: whole frames as chunks (faster than shards of bricks), zstd-1."""

    def __init__(self, asked: dict[str, Any]):
        import zarr
        from zarr.codecs import ZstdCodec

        super().__init__(asked)
        shape = tuple(asked["shape"])
        self.array = zarr.create_array(
            asked["folder"],
            shape=(asked["n_frames"], *shape),
            chunks=(1, *shape),
            dtype="float32",
            compressors=ZstdCodec(level=1),
            overwrite=True,
        )

    def go(self, n: int) -> None:
        """Draws and writes; frames of the last call are overwritten."""
        for frame in range(n):
            self.array[frame] = np.asarray(self.draw(frame))


class MRC:
    """mrcfile reading one file a frame; `summed` touches every voxel."""

    def __init__(self, asked: dict[str, Any]):
        self.files, self.summed = asked["files"], asked["summed"]

    def go(self, n: int) -> None:
        """`mrcfile.open`, as its documentation has it."""
        for i in range(n):
            self._read(self.files[i % len(self.files)])

    def volume(self) -> np.ndarray:
        """The first of the order."""
        return self._read(self.files[0])

    def _read(self, path: str) -> np.ndarray:
        import mrcfile

        with mrcfile.open(path) as file:
            volume = file.data
            assert volume is not None
            if self.summed:
                volume.sum()
            return volume


def _made(kind: type, *packages: str) -> Any:
    return lambda asked: (kind(asked), versions(*packages, "numpy"))


if __name__ == "__main__":
    answer(
        {
            "gemmi": _made(Gemmi, "gemmi"),
            "gemmi-mrc": _made(GemmiToMRC, "gemmi", "mrcfile"),
            "cryojax": _made(CryoJAX, "cryojax", "jax"),
            "cryojax-transforms": _made(CryoJAXTransforms, "cryojax", "jax", "jax-finufft"),
            "cryojax-zarr": _made(CryoJAXToZarr, "cryojax", "jax", "zarr"),
            "mrc": _made(MRC, "mrcfile"),
        }
    )
