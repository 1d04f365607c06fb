"""Grids and searches over budgets and accelerators."""
