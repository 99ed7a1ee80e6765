"""When garbage is not looked for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from looking for garbage until this ends, unless it is kept from that already.

    What an exchange with many devices makes is in use until the exchange ends, and goes with it. Looked through some
    15 times on the way, for nothing, it would cost a sixth of the exchange.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
