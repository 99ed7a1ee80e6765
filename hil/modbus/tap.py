"""Listening in: what a connection shows of every byte that it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Direction = Literal["sent", "received", "discarded"]
"""`discarded` came, and was no frame, or an answer that nobody waited for any more."""

Tap = Callable[[Direction, bytes], None]
"""Called with each whole frame as it is on the wire (with MBAP header or CRC), and with each run of bytes discarded.

It is called within the exchange, in the thread of the event loop: it must be quick, and must not raise.
"""
