"""What follows what, for one batch and for a run."""
