"""A module of the user's own: its file is found without running anything, and exactly this file is loaded."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from ..errors import Problem, Refusal

_LOADED: dict[str, tuple[ModuleType, str]] = {}
"""Modules that were loaded here, with the digests of what was run."""
_FOLDERS: set[Path] = set()
"""Of the recipes whose modules were loaded here."""
_ONE_AT_A_TIME = Lock()


def find_file(module: str, folder: Path) -> Path | None:
    """The module's file: beside the recipe in `folder` first, then installed. None where there is none; nothing of it is run."""
    importlib.invalidate_caches()
    top, *rest = module.split(".")
    if top == "__main__":  # whatever program this is
        return None
    try:
        beside = _below(PathFinder.find_spec(top, [str(folder.absolute())]), rest)
        return beside or _below(importlib.util.find_spec(top), rest)
    except (ImportError, ValueError):  # what is loaded without a spec cannot be looked for by one
        return None


def _below(spec: ModuleSpec | None, rest: Sequence[str]) -> Path | None:
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # by its last name alone: a folder without a package file would ask for its parent, which is not imported
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    file = Path(spec.origin) if spec is not None and spec.origin else None
    return file.absolute() if file is not None and file.is_file() else None


@dataclass(frozen=True)
class OwnModule:
    """A module as it was identified."""

    name: str
    file: Path
    """Absolute."""
    digest: str
    """`sha256:` of all of it."""
    folder: Path
    """The recipe's, absolute."""

    def load(self) -> ModuleType:
        """The module, run from the bytes that were identified; the one already there where it was.

        Where the file lies in the recipe's folder, that folder comes first on `sys.path`, so that the module can import what
        lies beside it. Raises `Refusal` where the file has changed or another was loaded, and whatever the module raises.
        """
        with _ONE_AT_A_TIME:
            source = self._source()
            if self._beside:
                sys.path[:] = [str(self.folder), *(entry for entry in sys.path if entry != str(self.folder))]
            if (known := self._known()) is not None:
                return known
            self._forget_others()
            importlib.invalidate_caches()
            finder = _Exactly(self, source)
            sys.meta_path.insert(0, finder)
            try:
                module = importlib.import_module(self.name)
            finally:
                sys.meta_path.remove(finder)
            if not self._is_file_of(module):
                got = str(getattr(module, "__file__", None) or module)
                raise Refusal(Problem("another file was loaded", self._where, got, str(self.file), "rename the module"))
            _LOADED[self.name] = module, self.digest
            return module

    @property
    def root(self) -> Path:
        """The folder in which the first part of the name is looked for."""
        return self._place.parents[self.name.count(".")]

    @property
    def _where(self) -> str:
        return f"ensemble.parametrization: {self.name}, {self.file}"

    @property
    def _place(self) -> Path:
        """A package is its folder."""
        return self.file.parent if self.file.stem == "__init__" else self.file

    @property
    def _beside(self) -> bool:
        return self.root == self.folder

    def _source(self) -> bytes:
        try:
            source = self.file.read_bytes()
        except OSError as error:
            fix = "workers need the same files as the computer that starts them"
            raise Refusal(Problem("the module cannot be read", self._where, error.strerror or str(error), fix=fix)) from error
        if (now := f"sha256:{hashlib.sha256(source).hexdigest()}") != self.digest:
            fix = "run again"
            raise Refusal(Problem("the module has changed since the run began", self._where, now, self.digest, fix))
        return source

    def _known(self) -> ModuleType | None:
        """The module that is loaded, if it is this one."""
        known = sys.modules.get(self.name)
        if known is None or not self._is_file_of(known) or any(True for _ in self._foreign_parents()):
            return None
        module, digest = _LOADED.get(self.name, (None, ""))
        if module is not known:  # imported by others: nobody knows from which bytes, and what is installed is in use
            return None if self._beside else known
        return known if digest == self.digest else None

    def _is_file_of(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return file is not None and Path(file).resolve() == self.file.resolve()

    def _foreign_parents(self) -> Iterator[str]:
        """Packages above the module that were loaded from elsewhere."""
        parts = self.name.split(".")
        for n in range(1, len(parts)):
            known = sys.modules.get(parent := ".".join(parts[:n]))
            if known is not None:
                folders = {Path(entry).resolve() for entry in getattr(known, "__path__", ())}
                if self._place.parents[len(parts) - n - 1].resolve() not in folders:
                    yield parent

    def _forget_others(self) -> None:
        """Those of this name, and what other recipes have beside them under a name that this one has too."""
        names = [self.name, *self._foreign_parents()]
        if self._beside:
            others = _FOLDERS - {self.folder}
            for name, module in list(sys.modules.items()):
                if "." not in name and (file := getattr(module, "__file__", None)) is not None:
                    place = Path(file).parent if Path(file).stem == "__init__" else Path(file)
                    if place.parent in others and PathFinder.find_spec(name, [str(self.folder)]) is not None:
                        names.append(name)
            _FOLDERS.add(self.folder)
        for known in list(sys.modules):
            if any(known == name or known.startswith(f"{name}.") for name in names):
                del sys.modules[known]


class _Exactly:
    """Finds one module in its file, whatever is on the path."""

    def __init__(self, wanted: OwnModule, source: bytes):
        self._wanted, self._source = wanted, source

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002  (the interface's)
        """Of the module, and of its topmost package."""
        wanted = self._wanted
        if name == wanted.name:
            loader = _Source(name, wanted.file, self._source) if wanted.file.suffix == ".py" else None
            return importlib.util.spec_from_file_location(name, wanted.file, loader=loader)
        if name == wanted.name.partition(".")[0]:
            return PathFinder.find_spec(name, [str(wanted.root)])
        return None


class _Source(SourceFileLoader):
    """Runs given bytes: bytecode beside the file may be of others, where two edits have the same second and size."""

    def __init__(self, name: str, file: Path, source: bytes):
        super().__init__(name, str(file))
        self._bytes = source

    def get_code(self, fullname: str):  # noqa: ARG002  (the interface's argument)
        """Compiled anew."""
        return self.source_to_code(self._bytes, self.path)
