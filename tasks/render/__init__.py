"""How a volume is drawn: Gaussians of atoms onto the bricks of a grid, and the proof that the numbers are right."""
