"""The keepers of all devices that a run commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hil.safety.keeper import Keeper
from hil.safety.restore import NotRestored, together
from hil.safety.stop import EmergencyStopped, EmergencyWatch


def _nothing() -> None:
    """There is no power that could be cut."""


class Keepers:
    """Takes, makes safe and lets go of n devices at the same time; each as far as it can be, whatever others do."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self._keepers = tuple(keepers)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be said before the run."""
        return tuple(keeper.warning for keeper in self._keepers if keeper.warning)

    @property
    def left_as_written(self) -> int:
        """How many points hold what was written last, for nobody knows what they held before."""
        return sum(len(keeper.left_as_written) for keeper in self._keepers)

    async def take(self) -> None:
        """Take every device that is armed, or none."""
        try:
            await self._each(lambda keeper: keeper.take())
        except BaseException:
            await self.let_go()
            raise

    async def let_go(self) -> None:
        """Restore every device that was taken. Raises NotRestored of the first that could not be."""
        await self._each(lambda keeper: keeper.let_go())

    async def stop_if_asked(self, watch: EmergencyWatch, cut_power: Callable[[], None] = _nothing) -> None:
        """Look once at what may stop the bench; if it does, make every device safe, then raise EmergencyStopped.

        cut_power: called at once, in a thread of its own, since it may block; no device is waited for.
        """
        try:
            await watch.check()
        except EmergencyStopped as stop:
            await self._make_safe(stop, cut_power)
            raise

    async def _make_safe(self, stop: EmergencyStopped, cut_power: Callable[[], None]) -> None:
        """Make every device safe; say of those that are not that they are not."""
        safe = self._each(lambda keeper: keeper.make_safe(stop.why))
        done = await asyncio.gather(asyncio.to_thread(cut_power), safe, return_exceptions=True)
        failures = [failure for failure in done if isinstance(failure, BaseException)]
        for failure in failures:
            stop.add_note(f"NOT SAFE: {failure}")
        if failures:
            raise stop from failures[0]

    async def _each(self, work: Callable[[Keeper], Awaitable[None]]) -> None:
        """Do it to all to the end; raise the first failure with notes on the others."""
        results = await asyncio.gather(*(work(keeper) for keeper in self._keepers), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        left = [failure for failure in failures if isinstance(failure, NotRestored)]
        if len(left) > 1:
            raise together(left)
        for other in failures[1:]:
            failures[0].add_note(f"also: {other}")
        if failures:
            raise left[0] if left else failures[0]
