"""No frame is stored unseen: its mass, or a few hundred voxels where no law says its mass, and the certificate of some frames."""

import math
from dataclasses import dataclass

import numpy as np

from ..tasks.errors import FrameFault, Problem
from ..tasks.render.base import CertificateSettings
from ..tasks.render.certificate import accuracy, relative, rounding
from ..tasks.render.oracle import Mass
from ..tasks.values import Accuracy, Bricks, FrameRecord, FrameStatus
from .drawing import REPORT, AnyDrawing, Subject
from .job import Job

GLANCE = CertificateSettings(voxels=512)
"""Of every frame that has no mass to check."""


@dataclass(frozen=True)
class Totals:
    """Of a frame's stored voxels; 0 where there are none."""

    sum: float
    min: float
    max: float

    @classmethod
    def of(cls, bricks: Bricks) -> "Totals":
        """One pass over the voxels for each."""
        values = bricks.values
        return cls(float(values.sum(dtype=float)), *((float(values.min()), float(values.max())) if values.size else (0.0, 0.0)))


class FrameCheck:
    """Compares one frame with its truth: as it was drawn, then as it is rounded to the store's type."""

    def __init__(self, job: Job, drawing: AnyDrawing, subject: Subject):
        self.job, self.drawing, self.subject = job, drawing, subject
        self.grid, self.limits = job.layout.grid, job.limits

    def record(self, drawn: Bricks, stored: Bricks, certified: bool) -> FrameRecord:
        """The record of the only frame in `drawn` (float32), which `stored` holds in the store's type.

        Raises `FrameFault` where its numbers are not what they must be.
        """
        mass = self.subject.oracle.mass(self.grid)
        found = Totals.of(drawn)
        self._holds_something(found)
        if mass is not None:
            self._mass(found, mass)
        if certified or mass is None:
            self._voxels(drawn, self.job.recipe.certificate if certified else GLANCE)
        self._rounded(drawn, stored)
        kept = found if stored.values is drawn.values else Totals.of(stored)
        everywhere = len(stored.values) == np.prod(self.grid.n_bricks)
        subject, nothing = self.subject, float("nan")
        return FrameRecord(
            status=FrameStatus.DONE,
            source=subject.source,
            source_frame=subject.source_frame,
            time=subject.time,
            rotation=tuple(tuple(row) for row in subject.rotation.tolist()),
            translation=tuple(subject.translation.tolist()),
            sum=kept.sum,
            min=kept.min if everywhere else min(kept.min, 0.0),
            max=kept.max if everywhere else max(kept.max, 0.0),
            mass=nothing if mass is None else self._expected(mass),
            scale=nothing if mass is None else mass.scale,
            lost=nothing if mass is None else mass.lost,
            accuracy=self._accuracy(stored, self.job.recipe.certificate) if certified else None,
        )

    def _expected(self, mass: Mass) -> float:
        return mass.total if self.drawing.periodic else mass.inside

    def _holds_something(self, found: "Totals") -> None:
        # the extremes tell: both are NaN where any voxel is
        if not (math.isfinite(found.min) and math.isfinite(found.max)):
            raise self._fault("a volume has voxels that are not finite")
        if found.min == found.max == 0.0:
            fix = "look at `poses`, `center` and the box: the object lies outside, or there is none"
            raise self._fault("a volume is empty", "0 in every voxel", "some of the object inside the box", fix)

    def _mass(self, totals: "Totals", mass: Mass) -> None:
        allowed = self.limits.mass
        if self.drawing.periodic and not abs(mass.lost) <= allowed:
            fix = "more `grid.padding` or a larger `grid.shape`; `render.method: gaussian` lets tails end at the faces"
            got = f"{abs(mass.lost):.2g} of its mass"
            raise self._fault("a volume reaches through the faces of a periodic box", got, f"at most {allowed:.2g}", fix)
        found, expected = totals.sum * self.grid.voxel_size**3, self._expected(mass)
        if not abs(found - expected) <= allowed * mass.scale:
            got, wanted = f"{found:.6g} Å", f"{expected:.6g} Å within {allowed * mass.scale:.2g}"
            raise self._fault("a volume's mass is wrong", got, wanted)

    def _voxels(self, drawn: Bricks, settings: CertificateSettings) -> None:
        errors = relative([self._accuracy(drawn, settings)])
        allowed = max(self.limits.voxels, self.subject.least)
        if not max(errors) <= allowed:
            got = f"relative L2 error {errors[0]:.2g}, largest error {errors[1]:.2g} of the largest value"
            what = f"a volume differs from {self.drawing.against}"
            raise self._fault(what, got, f"at most {allowed:.2g}", self.drawing.remedy)

    def _rounded(self, drawn: Bricks, stored: Bricks) -> None:
        if stored.values is drawn.values:
            return
        settings = self.job.recipe.store
        error, norm = (np.linalg.norm(v.astype(float)) for v in (stored.values - drawn.values, drawn.values))
        allowed = rounding(self.job.layout.dtype, settings.keepbits)
        if not error <= allowed * norm:
            largest = float(np.abs(drawn.values).max())
            how = self.job.layout.dtype + ("" if settings.keepbits is None else f" with `keepbits: {settings.keepbits}`")
            got = f"values up to {largest:.2g} lose {error / norm:.2g} of their norm in {how}"
            fix = "`dtype: float32` under `store`" if self.job.layout.dtype == "float16" else "`keepbits: null` under `store`"
            raise self._fault("a volume does not fit the store's type", got, f"at most {allowed:.2g}", fix)

    def _accuracy(self, bricks: Bricks, settings: CertificateSettings) -> Accuracy:
        return accuracy(self.grid, bricks, self.subject.frame, self.subject.oracle, settings)

    def _fault(self, what: str, got: str = "", wanted: str = "", fix: str = REPORT) -> FrameFault:
        subject = self.subject
        where = f"frame {subject.source_frame} of {self.job.ensemble.name} (frame {subject.frame} of the store)"
        return FrameFault(subject.source_frame, Problem(what, where, got, wanted, fix))
