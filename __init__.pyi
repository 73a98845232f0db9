from .tasks.grid import VoxelGrid as VoxelGrid
from .tasks.render.bricks import BrickEngine as BrickEngine
from .tasks.scattering.parameters import PengScatteringFactorParameters as PengScatteringFactorParameters
from .tasks.store.read import read_frames as read_frames
from .tasks.volume.gaussian_mixture import GaussianMixtureVolume as GaussianMixtureVolume
from .tasks.volume.pose import AxisAnglePose as AxisAnglePose
from .tasks.volume.pose import EulerAnglePose as EulerAnglePose
from .tasks.volume.pose import QuaternionPose as QuaternionPose
