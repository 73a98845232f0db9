"""The model of a store: its files as bytes. What a process does changes those that it may change, whole or not at all."""

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from cryovox.tasks.store import lock
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, run_folder


def beside(name: str) -> Any:
    """Another module of this folder: tests are no package."""
    spec = spec_from_file_location(f"chaos_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


processes, tiny = beside("processes"), beside("tiny_store")
golden, gathered, layout_of, tree = tiny.golden, tiny.gathered, tiny.layout_of, tiny.tree
TALLY: Counter[str] = Counter()


class Model:
    """`disk`: the files as they must be, rot included; None where there is no store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "a.zarr"
        self.disk: dict[str, bytes] | None = None
        self.n, self.growing = tiny.SIZES[0], False
        self.root: str = "begun"
        """`begun`, `finished` or `reopened`, by what its root says, or said before it was damaged."""
        self.zombies: list[Any] = []
        self.lock: lock.RunLock
        self.takes_the_lock()
        TALLY["examples"] += 1

    # what a process does, and how it ends

    @property
    def layout(self) -> StoreLayout:
        return layout_of(self.n)

    @property
    def writer(self) -> Writer:
        return Writer.of(self.path, self.lock.uuid)

    def takes_the_lock(self, step: int = 0) -> None:
        process = processes.Process(lambda: lock.acquire(run_folder(self.path), take_over=True), step)
        if not process.over:
            TALLY["kills"] += 1
            assert isinstance(process.ends(dead=True, torn=step % 2 == 0), processes.Killed)
            processes.DEAD.update(process.owners)
            process = processes.Process(lambda: lock.acquire(run_folder(self.path), take_over=True), 0)
        assert process.error is None, process.error
        assert isinstance(process.answer, lock.RunLock)
        self.lock = process.answer

    def does(
        self,
        work: Callable[[], object],
        after: Mapping[str, bytes | None],
        step: int = 0,
        wakes: bool = False,
        between: Mapping[str, bytes] = {},
    ) -> bool:
        """`work` in a process of its own changes these files (None: gone), and no other; whether it came to its end. Where it
        does not, each is as it was, as it is to be or as in `between`, and another run takes the store over."""
        before, process = self.disk or {}, processes.Process(work, step)
        if process.over and process.error is not None:
            raise process.error
        ended = process.over
        if not ended and wakes:
            self.zombies.append(process)
        elif not ended:
            TALLY["kills"] += 1
            assert isinstance(process.ends(dead=True, torn=step % 2 == 0), processes.Killed)
            processes.DEAD.add(self.lock.uuid)
        found = tree(self.path) if self.path.exists() else {}
        assert before or not found or found == after  # a half-made store is never seen
        for name in {*before, *after, *found}:
            wanted = [after[name] if name in after else before.get(name)]
            if not ended:
                wanted += [before.get(name), between.get(name)]
            assert found.get(name) in wanted, name
        self.disk = found or None
        begun, finished, reopened = golden(self.n)
        roots = {begun["zarr.json"]: "begun", finished["zarr.json"]: "finished", reopened: "reopened"}
        self.root = roots.get(found.get("zarr.json", b""), self.root)
        if not ended:
            TALLY["stopped"] += 1
            self.takes_the_lock(step // 3)
        return ended

    # what the model knows

    def record(self, shard: int) -> str:
        return f"ledger/{self.layout.record_key(shard)}"

    def shard(self, shard: int) -> str:
        return f"potential/{self.layout.shard_key(shard)}"

    def owner(self, name: str) -> int | str:
        """The shard whose file or record it is, or the file itself."""
        found = re.fullmatch(r"(?:potential/c\.(\d+)\.0\.0\.0|ledger/c\.(\d+)\.0)", name)
        shard = int(found[1] or found[2]) if found else 99
        return shard if shard < self.layout.n_shards else name

    def damage(self) -> set[str]:
        """Files that are not what they must be."""
        (begun, finished, reopened), found = golden(self.n), self.disk or {}
        wrong = set()
        for name in {*found, *finished}:
            owner = self.owner(name)
            if name == "zarr.json":
                right = [{"begun": begun[name], "finished": finished[name], "reopened": reopened}[self.root]]
            elif isinstance(owner, int):  # without a record nobody asks for the shard; a shard of zeros has no file
                asked = self.root == "finished" or self.record(owner) in found
                right = [finished.get(name)] if asked else [found.get(name)]
            elif self.root != "begun" or name not in finished:
                right = [finished.get(name)]
            else:  # or gathered by a run that died before it closed the store
                right = [begun.get(name), *([finished[name]] if gathered(name) else [])]
            if found.get(name) not in right:
                wrong.add(name)
        return wrong

    def visible(self) -> set[int | str]:
        """Whose damage is seen without reading a voxel."""
        found, right = self.disk or {}, golden(self.n)[1]
        shards = {self.shard(s) for s in range(self.layout.n_shards)}
        hidden = {n for n in shards if len(found.get(n, b"")) == len(right.get(n, b"")) and (n in found) == (n in right)}
        return {self.owner(name) for name in self.damage() - hidden}

    def there(self) -> bool:
        """A store that a run would go on with."""
        return self.disk is not None and not self.growing and not {"zarr.json", "potential/zarr.json"} & self.damage()

    def undone(self) -> list[int]:
        return [s for s in range(self.layout.n_shards) if self.record(s) not in (self.disk or {})]
