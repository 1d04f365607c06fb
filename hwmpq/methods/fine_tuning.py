"""Plain quantisation-aware training at bits that stay."""

from __future__ import annotations

from collections.abc import Sequence

from hwmpq.methods.base import Session
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable


class FineTuning(Session):
    """The epochs after the last allocation of a method that trains a fresh network in them."""

    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """Not asked for: bits are final.

        Raises:
            RuntimeError: always.
        """
        msg = f"bits are final, no sensitivity at {len(precisions)} precisions is known"
        raise RuntimeError(msg)
