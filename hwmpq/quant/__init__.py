"""Quantisers as torch functions and modules, and how they get into a model."""
