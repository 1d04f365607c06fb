"""Handing a result to other tools."""
