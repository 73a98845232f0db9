"""`python -m cryovox.pipeline.cli`: the command where nothing is on the path, such as in a job."""

import sys

from . import main

sys.exit(main())
