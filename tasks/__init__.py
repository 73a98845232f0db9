"""A task turns one batch into the next value: frames, volumes, bricks, shards, pictures."""
