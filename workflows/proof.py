"""What checks and oracles said of many frames: kept record by record, mergeable, and in the end the certificate of a store."""

from dataclasses import dataclass

from ..tasks.render.certificate import relative, together
from ..tasks.values import Accuracy, FrameRecord
from .job import Job
from .kinds import kind_of


@dataclass(frozen=True)
class Certificate:
    """The proof that closes a store."""

    frames: int
    """Frames compared with the direct sum."""
    voxels: int
    """Voxels compared."""
    relative_l2: float
    """Estimated relative L2 error of those frames together."""
    largest_error: float
    """Largest error of a compared voxel, relative to the largest value."""
    mass_error: float | None
    """Largest |Σ·h³ - analytic in-box mass| / Σ|a| of all frames; None where no law says their mass (maps, point samples)."""
    lost: float | None
    """Largest share of a frame's mass that lies outside the box; None as for `mass_error`."""
    tolerance: float
    """Asked for."""
    limit: float
    """What no frame was allowed to exceed, before it was rounded to the store's type."""
    against: str
    """What the voxels were compared with."""


@dataclass(frozen=True)
class Proof:
    """Of some frames that are done: sums and extremes, at any number of frames."""

    frames: int = 0
    """That were compared with their oracle."""
    accuracy: Accuracy = Accuracy(0.0, 0.0, 0.0, 0.0, 0)
    """Of those together."""
    mass_error: float | None = None
    """The largest of all frames, as `Certificate` has it."""
    lost: float | None = None

    @classmethod
    def of(cls, frame: FrameRecord, voxel_size: float) -> "Proof":
        """Of one frame that is done."""
        accuracy = {} if frame.accuracy is None else {"frames": 1, "accuracy": frame.accuracy}
        if (error := frame.mass_error(voxel_size)) is None:
            return cls(**accuracy)
        return cls(**accuracy, mass_error=error, lost=abs(frame.lost))

    def with_(self, other: "Proof") -> "Proof":
        """Of both together."""
        return Proof(
            self.frames + other.frames,
            together(self.accuracy, other.accuracy),
            _larger(self.mass_error, other.mass_error),
            _larger(self.lost, other.lost),
        )

    def certificate(self, job: Job) -> Certificate:
        """Of the job's frames, once all were seen."""
        l2, largest = relative([self.accuracy] if self.frames else [])
        return Certificate(
            frames=self.frames,
            voxels=self.accuracy.n_voxels,
            relative_l2=l2,
            largest_error=largest,
            mass_error=self.mass_error,
            lost=self.lost,
            tolerance=job.recipe.render.tolerance,
            limit=job.limits.voxels,
            against=kind_of(job.recipe).oracle,
        )


def _larger(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)
