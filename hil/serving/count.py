"""How many requests a device has had."""

from __future__ import annotations


class Count:
    """The number of the request that is being answered, from 1; 0 before the first."""

    def __init__(self) -> None:
        self.number = 0

    def next(self) -> int:
        self.number += 1
        return self.number
