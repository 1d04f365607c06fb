"""Alternating training and allocation, and the run directory it leaves."""
