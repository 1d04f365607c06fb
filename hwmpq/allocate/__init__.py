"""Choosing a precision for every layer under hard budgets.

The package can be called: ``hwmpq.allocate(costs, sensitivity, budget)`` is
`hwmpq.allocate.run.allocate`.
"""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """Lets ``hwmpq.allocate`` be the function of the public API and the package of its parts."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from hwmpq.allocate.run import allocate

        return allocate(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
