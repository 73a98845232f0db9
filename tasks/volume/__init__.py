"""What a volume is: atoms as Gaussians, poses. A volume knows no grid (README.md beside this)."""
