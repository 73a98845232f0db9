"""PyTorch's own loader takes a dataset as it is: pytest -m peers -n 0 -s tests/pipeline/open/test_torch.py

Makes the environment `torch` in `.peers/` of the checkout (ignored by git; the default index of pip, several GB) where it is
absent; cryovox and what it needs come from the environment that runs the tests.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import cryovox

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]
SCRIPT = """
import json, sys
import numpy as np, torch, cryovox
from torch.utils.data import DataLoader

if __name__ == "__main__":
    volumes = cryovox.open_store(sys.argv[1])
    dense = volumes[:]
    found = {"torch": torch.__version__}
    for start in ("spawn", "fork"):
        dataset = volumes.dataset(labels=["state", "reaction"])
        sampler = dataset.sampler(seed=1)
        loader = DataLoader(dataset, 4, sampler=sampler, num_workers=2, multiprocessing_context=start, persistent_workers=True)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            frames = []
            for batch in loader:
                assert batch["volume"].dtype == torch.float32
                assert np.array_equal(batch["volume"].numpy(), dense[batch["frame"].numpy()])
                assert batch["reaction"].dtype == torch.float64
                frames += batch["frame"].tolist()
            found[f"{start} {epoch}"] = sorted(frames) == list(range(len(volumes)))
            found[f"{start} {epoch} order"] = frames
    dataset = volumes.dataset("bricks")
    loader = DataLoader(dataset, 4, collate_fn=dataset.collate, num_workers=2, multiprocessing_context="spawn")
    for n, batch in enumerate(loader):
        bricks = cryovox.Bricks(len(batch["frame"]), batch["sample"], batch["indices"], batch["values"])
        tensor = torch.from_dlpack(cryovox.dense_on_device(bricks, volumes.grid))
        assert np.array_equal(tensor.numpy(), dense[4 * n : 4 * n + 4])
    print(json.dumps(found))
"""


def test_two_workers_deliver_every_frame_once_an_epoch(folder, tmp_path):
    subprocess.run([sys.executable, str(ROOT / "tests" / "benchmarks" / "peers.py"), "--only", "torch"], check=True)
    script = tmp_path / "train.py"  # spawned workers import it: it must be a file
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(cryovox.__file__).parents[1]), sysconfig.get_paths()["purelib"]])
    command = [str(ROOT / ".peers" / "torch" / "bin" / "python"), str(script), str(folder / "out.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\nPyTorch {found['torch']}")
    for start in ("spawn", "fork"):
        assert found[f"{start} 0"], found
        assert found[f"{start} 1"], found
        assert found[f"{start} 0 order"] != found[f"{start} 1 order"]
    assert found["spawn 0 order"] == found["fork 0 order"]
