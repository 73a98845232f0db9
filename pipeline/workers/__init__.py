"""What runs in a worker process: how it is prepared, examined, and what its task does."""
