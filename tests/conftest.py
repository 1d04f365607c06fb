"""Property tests try the same examples in every run; HWMPQ_FUZZ=1 draws new ones."""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("fuzz", deadline=None)
settings.load_profile("fuzz" if os.environ.get("HWMPQ_FUZZ") else "repeatable")
