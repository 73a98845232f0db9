"""What a user writes: strict YAML, checked against the dataclass it must fill."""
