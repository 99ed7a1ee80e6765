"""Between two steps somebody looks for a reason to stop, and what is found is not forgotten."""

from __future__ import annotations

import asyncio

import pytest

from derloop.errors import Interlocked
from hil.bench.lookout import Lookout


def test_what_was_found_between_two_steps_ends_the_run_though_it_is_gone_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hil.bench.lookout.EVERY_S", 0.01)
    looks = iter(("nothing", "a contact opens", "it is closed again"))

    async def look() -> None:
        if (seen := next(looks)) == "a contact opens":
            raise Interlocked("contact", seen)

    async def run() -> None:
        lookout = Lookout(look)
        lookout.stand_watch(step_s=60.0)
        await asyncio.wait(lookout.found, timeout=10.0)
        with pytest.raises(Interlocked, match="a contact opens"):
            await lookout.stand_down()
        await lookout.stand_down()

    asyncio.run(run())


def test_nobody_looks_once_the_watch_is_over_and_again_when_it_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.bench.lookout.EVERY_S", 0.01)
    looks: list[None] = []

    async def look() -> None:
        looks.append(None)

    async def run() -> None:
        lookout = Lookout(look)
        for _ in range(2):
            looks.clear()
            lookout.stand_watch(step_s=60.0)
            await asyncio.sleep(0.2)
            await lookout.stand_down()
            assert 1 <= (seen := len(looks)) <= 20
            await asyncio.sleep(0.1)
            assert len(looks) == seen
        await lookout.end()

    asyncio.run(run())
