"""The keepers of all devices that a run commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hil.safety.keeper import Keeper
from hil.safety.restore import NotRestored, together
from hil.safety.stop import EmergencyStopped, EmergencyWatch
from hil.safety.unrestored import restoring


def _nothing() -> None:
    """There is no power that could be cut."""


class Keepers:
    """Takes, makes safe and lets go of n devices at the same time; each as far as it can be, whatever others do."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self._keepers = tuple(keepers)

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
            failures = await self._make_safe(stop.why, cut_power)
            raise self._followed_up(stop, failures) from (failures[0] if failures else stop.__cause__)

    async def _make_safe(self, why: str, cut_power: Callable[[], None]) -> list[BaseException]:
        """Make every device safe; return why some are not."""
        safe = self._each(lambda keeper: keeper.make_safe(why))
        done = await asyncio.gather(asyncio.to_thread(cut_power), safe, return_exceptions=True)
        return [failure for failure in done if isinstance(failure, BaseException)]

    def _followed_up(self, stop: EmergencyStopped, failures: Sequence[BaseException]) -> EmergencyStopped:
        """Return the stop with what is to be done now, and who is not safe."""
        taken = [keeper for keeper in self._keepers if keeper.is_taken]
        if not taken:
            return stop
        names, how = ", ".join(keeper.name for keeper in taken), restoring(taken[0].run.bench)
        state = "not all of these are in their safe states" if failures else "in the safe state, where it stays, is"
        said = EmergencyStopped(stop.device, stop.why, f"{state}: {names}; once the cause is gone, {how}")
        for failure in failures:
            said.add_note(f"NOT SAFE: {failure}")
        return said

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
