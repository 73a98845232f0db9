"""The line that brings the page to a laptop: from a desk none, from a login node one hop, from a job two."""

import pytest

from cryovox.pipeline.dashboard.feed import ssh_line

SSH, JOB = {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_HOST": "login1"}


@pytest.mark.parametrize(
    ("link", "environment", "line"),
    [
        ("http://127.0.0.1:8787/cryovox", {}, None),
        ("http://127.0.0.1:8787/cryovox", SSH, "ssh -N -L 8787:127.0.0.1:8787 ann@node7"),
        ("http://0.0.0.0:41000/cryovox", SSH, "ssh -N -L 41000:127.0.0.1:41000 ann@node7"),
        ("http://127.0.0.1:8787/cryovox", JOB, "ssh -N -L 8787:127.0.0.1:8787 -J ann@login1 ann@node7"),
        ("http://127.0.0.1:8787/cryovox", JOB | SSH, "ssh -N -L 8787:127.0.0.1:8787 -J ann@login1 ann@node7"),
        ("http://127.0.0.1:8787/cryovox", JOB | {"SLURM_SUBMIT_HOST": "node7"}, "ssh -N -L 8787:127.0.0.1:8787 ann@node7"),
        ("http://10.0.0.5:8787/cryovox", SSH, "ssh -N -L 8787:10.0.0.5:8787 ann@node7"),
        ("http://127.0.0.1:1/cryovox", JOB | {"SLURM_SUBMIT_HOST": "a;b"}, "ssh -N -L 1:127.0.0.1:1 -J 'ann@a;b' ann@node7"),
    ],
)
def test_the_line_for_a_laptop(link, environment, line):
    assert ssh_line(link, environment, "node7", "ann") == line
