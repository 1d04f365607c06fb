"""Choosing a precision for every layer under hard budgets."""
