"""The Zarr store: its layout, shards, ledger and lock, and reading it back as plain arrays."""
