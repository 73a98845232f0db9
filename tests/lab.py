"""A scheduler that somebody else started, with its workers: each a process of its own, in a terminal of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path


class Lab:
    """A scheduler and its workers, each a process; gone after the block."""

    def __init__(self, folder: Path):
        self.folder, self._processes = folder, []
        self.file = folder / "scheduler.json"

    def scheduler(self, *options: str) -> None:
        common = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)]
        self._start("distributed.cli.dask_scheduler", *common, *options)
        deadline = time.monotonic() + 60
        while not self.file.exists() or not self.file.read_text():
            assert time.monotonic() < deadline, (self.folder / "lab.txt").read_text()
            time.sleep(0.1)

    def worker(self, *options: str, **environment: str) -> None:
        command = ["--scheduler-file", str(self.file), "--no-dashboard", "--nthreads", "2", "--local-directory", str(self.folder)]
        self._start("distributed.cli.dask_worker", *command, *options, **environment)

    def _start(self, module: str, *options: str, **environment: str) -> None:
        with (self.folder / "lab.txt").open("a") as output:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *options],
                    stdout=output,
                    stderr=output,
                    env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
                    start_new_session=True,
                )
            )

    def kill_the_scheduler(self) -> None:
        """The first that was started."""
        self._processes[0].kill()

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(timeout=30)
