"""mmCIF files as frames: every model of `_atom_site` is one."""

import numpy as np

from .atom_site import atom_site
from .frame_file import BadFrame, Decoded, FrameFile, Index
from .identity import AtomWords


class MmcifFrames(FrameFile):
    """Plain or gzipped; `n_atoms` is the first model's, and no other model may have other atoms."""

    def __init__(self, path: str, format: str = "mmcif", n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._site = atom_site(path)
        self.n_atoms = len(self._site.words)

    def close(self) -> None:
        """Nothing is open: the text was read whole."""

    def index(self) -> Index:
        """The models."""
        return Index(self._site.n_models)

    def read(self, frame: int, offset: int) -> Decoded:  # noqa: ARG002  (the interface's argument)
        """The model of this place in the file, counted from 0, whatever its own number."""
        site = self._site
        if frame >= site.n_models:
            raise BadFrame(f"the file holds {site.n_models} models")
        if frame in site.strangers:
            raise BadFrame(site.strangers[frame])
        if frame in site.unreadable:
            raise BadFrame(f"{site.unreadable[frame]}: coordinates that are no numbers")
        return Decoded(np.nan, site.positions[site.rows(frame)])

    def atoms(self) -> AtomWords:
        """Those of the first model."""
        return self._site.words
