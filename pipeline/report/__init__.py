"""The report that a run leaves: one HTML file, from the store, its ledger and its history."""
