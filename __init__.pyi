from .tasks.grid import VoxelGrid as VoxelGrid
