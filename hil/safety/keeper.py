"""The guard of one device: what was found is on disk before the first write, and restored at the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hil.inverter.device import SunSpecDevice
from hil.inverter.guard import Change
from hil.safety.folder import Run, StateFolder
from hil.safety.rules import SafetyRules


class Keeper:
    """Decides about every write of one device, records what it finds, and leaves the device as it was found.

    `armed` are the names that `--arm` gave. `take` before the first command; `let_go` at the end, however it came.
    """

    def __init__(
        self, device: SunSpecDevice, rules: SafetyRules, armed: Collection[str], folder: StateFolder, run: Run
    ) -> None: ...

    def permit(self, changes: Sequence[Change], now_s: float) -> None:
        """Raise Interlocked, unless all of these may be written."""
        raise NotImplementedError

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        """Take note of what the device has acknowledged."""
        raise NotImplementedError

    async def take(self) -> None:
        """Lock the device and record its state. Not armed: nothing. Raises Interlocked if another run holds it."""
        raise NotImplementedError

    async def make_safe(self, why: str) -> None:
        """Put the device into its safe state, where it stays: `let_go` then restores nothing."""
        raise NotImplementedError

    async def let_go(self) -> None:
        """Restore and verify what was found, and unlock. Raises NotRestored, and keeps the record, where that fails."""
        raise NotImplementedError
