"""Accelerators as validated YAML: geometry, memories, energies and the source of each number."""
