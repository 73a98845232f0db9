"""Structures and trajectories: decoded in a child process, elements resolved, frames placed."""
