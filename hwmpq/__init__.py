"""hwmpq."""
