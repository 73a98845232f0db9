"""Where a run works: the profiles, and how each kind of cluster is started, joined or submitted to."""
