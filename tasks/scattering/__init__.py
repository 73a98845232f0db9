"""Electron scattering factors of the elements: our own tables, with their sources."""
