"""The API reference as one page of HTML, from the docstrings: `python docs/reference.py [--into FOLDER]`.

pdoc looks into a module's dictionary, where the names of `cryovox` are not before somebody asks for them: here they are asked
for, and put, group by group, into a module that pdoc can look into. Needs pdoc: `pip install 'cryovox[docs]'`.
"""

import argparse
import re
import types
import warnings
from pathlib import Path
from typing import Any

import pdoc.doc
import pdoc.render

import cryovox

GROUPS = {
    "Open and train": ("open_store", "open_ensemble", "VolumeSeries", "VolumeDataset", "ShardSampler", "dense_on_device"),
    "Read and write": (
        "read_frames", "read_region", "read_bricks", "Bricks", "read_atoms_from_pdb", "read_array_from_mrc",
        "read_origin_from_mrc", "write_array_to_mrc",
    ),
    "Grids": ("VoxelGrid", "make_coordinate_grid", "make_frequency_grid", "make_frequency_slice"),
    "Volumes of atoms": (
        "GaussianMixtureVolume", "IndependentAtomVolume", "PengScatteringFactorParameters", "LobatoScatteringFactorParameters",
    ),
    "Volumes of voxels": (
        "RealVoxelGridVolume", "FourierVoxelGridVolume", "FourierVoxelSplineVolume", "SincCorrectionMask",
        "compute_spline_coefficients",
    ),
    "Renderers": (
        "AutoVolumeRenderFn", "GaussianMixtureRenderFn", "FFTAtomRenderFn", "VoxelResampleRenderFn", "BrickEngine",
        "DeviceBricks", "TruncationWarning",
    ),
    "Projections": ("RealSpaceProjection", "FourierSliceExtraction", "FourierSplineSliceExtraction"),
    "Poses": ("EulerAnglePose", "QuaternionPose", "AxisAnglePose"),
    "Fourier transforms and operators": (
        "fftn", "ifftn", "rfftn", "irfftn", "FourierConstant", "FourierGaussian", "FourierSinc",
    ),
    "To derive from": (
        "AbstractVolumeParametrization", "AbstractVolumeRepresentation", "AbstractAtomVolume", "AbstractVoxelVolume",
        "AbstractVolumeRenderFn", "AbstractVolumeIntegrator", "AbstractPose", "AbstractFourierOperator",
    ),
}  # fmt: skip

INTO = Path(__file__).with_name("reference")
INTRODUCTION = """Everything that `import cryovox` offers. A volume says *what*, a renderer *how*; arrays are indexed (z, y, x),
vectors are (x, y, z) in Å, voxel n//2 of each axis is the origin, and values are Å⁻² unless a docstring says otherwise."""

ARRAY_LIKE = ("numpy.ndarray", "numpy.bool", "numpy.number", "bool", "int", "float", "complex")
LISTED = ", ".join(["jax.jaxlib._jax.Array", *ARRAY_LIKE])
SHORTER = {
    f"Union[{LISTED}]": "ArrayLike",
    LISTED: "ArrayLike",
    " | ".join(["jax.Array", *ARRAY_LIKE]): "ArrayLike",
    "jaxlib._jax.": "",
    "jaxtyping.": "",
    "equinox._module._better_abstract.": "",
    "equinox._module._module.": "equinox.",
}
"""What annotations are when they are printed, and what they are called where they are written."""


def door() -> types.ModuleType:
    """`cryovox` with every name in its place, in the order of `GROUPS`. Raises `ValueError` where the two do not agree."""
    offered: Any = cryovox
    names = [name for group in GROUPS.values() for name in group]
    if wrong := sorted(set(names) ^ set(offered.__all__)) or sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"GROUPS must hold every name of cryovox.__all__ once: {', '.join(wrong)}")
    module = types.ModuleType("cryovox", contents())
    vars(module).update({"__all__": names}, **{name: getattr(offered, name) for name in names})
    return module


def contents() -> str:
    """The page's own text: a line for each group."""
    lines = [f"**{group}**: {', '.join(f'[{name}](#{name})' for name in names)}" for group, names in GROUPS.items()]
    return "\n\n".join([INTRODUCTION, *lines])


def page() -> str:
    """The HTML. pdoc's warnings are raised: each is something that it could not show."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pdoc.render.configure(docformat="markdown", search=False, show_source=False)
        module = pdoc.doc.Module(door())
        html = pdoc.render.html_module(module, {"cryovox": module})
    for group, names in GROUPS.items():
        first = f'<section id="{names[0]}">'
        if html.count(first) != 1:
            raise ValueError(f"pdoc has shown {names[0]} {html.count(first)} times")
        html = html.replace(first, f'<h2 class="group">{group}</h2>\n{first}')
    for long, short in SHORTER.items():
        html = html.replace(spans(long), spans(short)).replace(long, short)
    return html


def spans(code: str) -> str:
    """Names and dots as pdoc colours them."""

    def one(found: re.Match) -> str:
        word = found[0]
        builtin = word in ("bool", "int", "float", "complex") and code[: found.start()].endswith(" ")
        kind = "o" if word in ".|" else "nb" if builtin else "n" if word[0].isidentifier() else "p"
        return f'<span class="{kind}">{word}</span>'

    return re.sub(r"\w+|[.,|\[\]]", one, code)


def main() -> None:
    """Writes `index.html`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, default=INTO, metavar="FOLDER", help="made where it is not there")
    into: Path = parser.parse_args().into
    html = page()
    into.mkdir(parents=True, exist_ok=True)
    (into / "index.html").write_text(html, encoding="utf-8")
    print(into / "index.html")


if __name__ == "__main__":
    main()
