"""No frame is stored unseen: its mass, or a few hundred voxels where no law says its mass, and the certificate of some frames."""

import numpy as np

from ..tasks.errors import FrameFault, Problem
from ..tasks.render.base import CertificateSettings
from ..tasks.render.certificate import accuracy, relative
from ..tasks.values import Accuracy, Bricks, FrameRecord, FrameStatus
from .drawing import REPORT, AnyDrawing, Subject
from .job import Job

GLANCE = CertificateSettings(voxels=512)
"""Of every frame that has no mass to check."""


def checked(job: Job, drawing: AnyDrawing, subject: Subject, bricks: Bricks, certified: bool) -> FrameRecord:
    """The record of one frame, the only one in `bricks`. Raises `FrameFault` where its numbers are not what they must be."""
    grid, values = job.layout.grid, bricks.values
    name = job.ensemble.name
    where = f"frame {subject.source_frame} of {name} (frame {subject.frame} of the store)"

    def fault(what: str, got: str = "", wanted: str = "", fix: str = REPORT) -> FrameFault:
        return FrameFault(subject.source_frame, Problem(what, where, got, wanted, fix))

    total = float(values.sum(dtype=float))
    if not np.isfinite(total):
        raise fault("a volume has voxels that are not finite")
    mass, expected = subject.oracle.mass(grid), float("nan")
    if mass is not None:
        if drawing.periodic and mass.lost > job.limit:
            fix = "more `grid.padding` or a larger `grid.shape`; `render.method: gaussian` lets tails end at the faces"
            raise fault("a volume reaches through the faces of a periodic box", f"{mass.lost:.2g} of its mass", "none", fix)
        expected = mass.total if drawing.periodic else mass.inside
        if abs(total * grid.voxel_size**3 - expected) > job.limit * mass.scale:
            got, wanted = f"{total * grid.voxel_size**3:.6g} Å", f"{expected:.6g} Å within {job.limit * mass.scale:.2g}"
            raise fault("a volume's mass is wrong", got, wanted)
    proof: Accuracy | None = None
    if certified or mass is None:
        settings = job.recipe.certificate if certified else GLANCE
        proof = accuracy(grid, bricks, subject.frame, subject.oracle, settings)
        if max(errors := relative([proof])) > job.limit and (proof.squared_error or proof.squared_norm):
            got = f"relative L2 error {errors[0]:.2g}, largest error {errors[1]:.2g} of the largest value"
            raise fault("a volume differs from its direct sum", got, f"at most {job.limit:.2g}", drawing.remedy)
    everywhere = len(values) == np.prod(grid.n_bricks)
    return FrameRecord(
        status=FrameStatus.DONE,
        source_frame=subject.source_frame,
        time=subject.time,
        rotation=tuple(tuple(row) for row in subject.rotation.tolist()),
        translation=tuple(subject.translation.tolist()),
        sum=total,
        min=float(values.min(initial=np.inf if everywhere else 0.0)),
        max=float(values.max(initial=-np.inf if everywhere else 0.0)),
        mass=expected,
        lost=float("nan") if mass is None else mass.lost,
        accuracy=proof if certified else None,
    )
