"""Tests never judge times: an example may take as long as a busy machine needs."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("derloop", deadline=None)
settings.load_profile("derloop")
