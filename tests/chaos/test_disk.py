"""P11, P12: a disk that is too small is refused, and one that fills up, breaks or has no room for files ends a run in order.

For root on Linux: pytest -m root -n 0 tests/chaos/test_disk.py. Disks are made of memory and of a file; the command is the
installed one.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import read_layout
from cryovox.tasks.values import FrameStatus

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a disk"),
]
COMMAND = shutil.which("cryovox", path=str(Path(sys.executable).parent)) or "cryovox"
FRAMES = 25
MOUNTED = "mnt"


def digests(folder: Path) -> dict[str, str]:
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


@dataclass
class Place:
    """A folder with a disk in it; runs write onto the disk."""

    folder: Path
    quickstart: Path
    golden: dict[str, str]
    taken: int
    """Bytes of the golden store."""
    output: str = ""
    mounts: list[Path] = field(default_factory=list)

    @property
    def disk(self) -> Path:
        return self.folder / MOUNTED

    @property
    def store(self) -> Path:
        return self.disk / "adk.zarr"

    def mount(self, *options: str) -> None:
        self.disk.mkdir(exist_ok=True)
        subprocess.run(["mount", *options, self.disk], check=True)

    def start(self, voxel_size: float = 2.0) -> subprocess.Popen:
        (self.folder / "here.yaml").write_text("workers: 2\ndashboard_port: 0\n")
        recipe = self.quickstart.parent / "recipes" / "quickstart.yaml"
        sets = (f"grid.voxel_size={voxel_size}", "ensemble.frames.step=4", f"store.path={self.store.relative_to(self.folder)}")
        command = [COMMAND, "run", recipe, "--cluster", "./here.yaml", *(word for one in sets for word in ("--set", one))]
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=output, start_new_session=True)

    def ended(self, process: subprocess.Popen) -> int:
        try:
            return process.wait(240)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
            self.output = (self.folder / "output.txt").read_text()

    def run(self, voxel_size: float = 2.0) -> int:
        return self.ended(self.start(voxel_size))

    def after(self, shards: int, process: subprocess.Popen, act: Callable[[], object]) -> None:
        """Does it in the midst."""
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                if sum(1 for _ in (self.store / "ledger").glob("c.*.0")) >= shards:
                    act()
                    return
            time.sleep(0.002)
        pytest.fail(f"it was not in the midst of {shards} shards: {(self.folder / 'output.txt').read_text()}")

    def stopped_in_order(self, code: int, said: str) -> None:
        """P11: one clear error that names the disk and the way on; `status` says what the ledger says."""
        assert code == 75, self.output
        assert "Traceback" not in self.output, self.output
        # the last word: where it failed, and what goes on
        assert self.output.count("Resume with:") == 1, self.output
        why, _, way_on = self.output.partition("\nNothing that was done is lost. Resume with:\n")
        assert said in why.splitlines()[-1], self.output
        assert str(self.disk) in why.splitlines()[-1], self.output
        assert "cryovox run" in way_on.splitlines()[0]
        assert "adk.zarr.run/lock" not in way_on, self.output
        layout, _ = read_layout(self.store)
        found = ledger.survey(self.store, layout)
        assert 0 < found.frames[FrameStatus.DONE] < FRAMES
        command = [COMMAND, "status", self.store, "--json"]
        state = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert state["frames"] == {status.name.lower(): found.frames[status] for status in FrameStatus}
        assert state["run_state"] not in (None, "running", "starting"), state

    def finishes(self) -> None:
        """The same command, once there is room."""
        assert self.run() == 0, self.output
        assert digests(self.store) == self.golden


@pytest.fixture(scope="module")
def golden(tmp_path_factory, quickstart) -> Place:
    """The store on a disk with room."""
    place = Place(tmp_path_factory.mktemp("golden"), quickstart, {}, 0)
    place.disk.mkdir()
    assert place.run() == 0, place.output
    files = [file for file in place.store.rglob("*") if file.is_file()]
    place.golden, place.taken = digests(place.store), sum(file.stat().st_size for file in files)
    return place


@pytest.fixture
def place(tmp_path, golden) -> Iterator[Place]:
    made = Place(tmp_path, golden.quickstart, golden.golden, golden.taken)
    yield made
    subprocess.run(["umount", "--lazy", made.disk], check=False, capture_output=True)


def test_a_disk_that_fills_up_ends_the_run_and_more_room_ends_the_store(place):
    place.mount("-t", "tmpfs", "-o", f"size={int(0.8 * place.taken)}", "tmpfs")
    place.stopped_in_order(place.run(), "No space left on device")
    place.mount("-o", f"remount,size={3 * place.taken}")
    place.finishes()


def test_a_disk_that_stays_full_says_so_each_time_and_loses_nothing(place):
    place.mount("-t", "tmpfs", "-o", f"size={int(0.8 * place.taken)}", "tmpfs")
    for _ in range(2):
        place.stopped_in_order(place.run(), "No space left on device")
    place.mount("-o", f"remount,size={3 * place.taken}")
    place.finishes()


def test_a_disk_that_surely_has_no_room_is_refused_before_anything_is_made(place):
    """At 1 Å it takes seven times what it takes at 2 Å, and a third of that surely."""
    place.mount("-t", "tmpfs", "-o", f"size={place.taken}", "tmpfs")
    assert place.run(voxel_size=1.0) == 2, place.output
    assert "the disk has no room for the volumes" in place.output
    assert str(place.disk) in place.output
    assert list(place.disk.iterdir()) == []


def test_a_disk_that_has_too_few_inodes_is_refused_before_anything_is_made(place):
    place.mount("-t", "tmpfs", "-o", "nr_inodes=90", "tmpfs")
    assert place.run() == 2, place.output
    assert "the disk has no room for so many files" in place.output
    assert str(place.disk) in place.output
    assert list(place.disk.iterdir()) == []


def test_inodes_that_run_out_in_the_midst_end_the_run_in_order(place):
    place.mount("-t", "tmpfs", "-o", "nr_inodes=300", "tmpfs")
    (place.disk / "others").mkdir()

    def take() -> None:
        with suppress(OSError):
            for n in range(400):
                (place.disk / "others" / str(n)).touch()

    process = place.start()
    place.after(5, process, take)
    place.stopped_in_order(place.ended(process), "No space left on device")
    shutil.rmtree(place.disk / "others")
    place.finishes()


def test_a_disk_that_becomes_read_only_ends_the_run_in_order(place):
    """As ext4 does at an error of the device."""
    image = place.folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    if shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
        pytest.skip("no mkfs.ext4, or no loop devices")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    place.mount("-o", "loop,errors=remount-ro", str(image))
    device = subprocess.run(["losetup", "-j", image], capture_output=True, text=True, check=True).stdout.partition(":")[0]
    trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
    process = place.start()
    place.after(5, process, lambda: trigger.write_text("1"))
    code = place.ended(process)
    place.stopped_in_order(code, "Read-only file system")
    subprocess.run(["umount", place.disk], check=True)
    subprocess.run(["e2fsck", "-p", "-f", image], check=False, capture_output=True)
    place.mount("-o", "loop", str(image))
    place.finishes()
