"""The door to volumes from Python: a store, or a recipe that is drawn when asked; lazy, as Dask and xarray, for training."""

from .doors import open_ensemble, open_store
from .series import VolumeSeries
from .training import ShardSampler, VolumeDataset

__all__ = ["ShardSampler", "VolumeDataset", "VolumeSeries", "open_ensemble", "open_store"]
