"""Definitions of the networks that the shipped workloads name."""
