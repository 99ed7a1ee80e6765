"""mosaik moves the federation: the only module that imports mosaik.

Each unit is a simulator with one entity and one attribute, its payload: few simulators and whole vectors, for mosaik's
cost grows with the square of the first and with each single value. A wire back to a unit of lower rank is
*time-shifted*. mosaik's own `rt_factor` steps too early by one step, and is not used: units wait for the clock
themselves.
"""

from __future__ import annotations

import asyncio
from itertools import permutations
from math import gcd
from typing import Any

import mosaik
import mosaik_api_v3

from derloop.engines.stepping import Stepper

_VALUES, _TURN = "values", "turn"
_ENTITY = "unit"


class UnitSimulator(mosaik_api_v3.Simulator):
    """One unit as a mosaik simulator."""

    def __init__(self) -> None:
        super().__init__({"type": "time-based"})  # type: ignore[no-untyped-call]

    def init(self, sid: str, time_resolution: float = 1.0, **params: Any) -> Any:
        self._stepper: Stepper = params["stepper"]
        self._tick_ns: int = params["tick_ns"]
        self.meta["models"] = {"Unit": {"public": True, "params": [], "attrs": [_VALUES, _TURN]}}
        return self.meta

    def create(self, num: int, model: str, **params: Any) -> Any:
        return [{"eid": _ENTITY, "type": model}]

    def step(self, time: int, inputs: Any, max_advance: int) -> int:
        feeds = self._stepper.inbox.feeds
        for source, payload in inputs.get(_ENTITY, {}).get(_VALUES, {}).items():
            feeds[source.rsplit(".", 1)[0]].payload[:] = payload
        self._stepper.step(time * self._tick_ns)
        return time + self._stepper.unit.step_ns // self._tick_ns

    def get_data(self, outputs: Any) -> Any:
        found = {_VALUES: self._stepper.outbox.payload.copy(), _TURN: 0.0}
        return {_ENTITY: {attribute: found[attribute] for attribute in outputs[_ENTITY]}}


def run(steppers: list[Stepper], until_ns: int) -> None:
    """Step the units until `until_ns` as simulators of one mosaik world."""
    tick_ns = gcd(*(stepper.unit.step_ns for stepper in steppers))
    for stepper in steppers:
        stepper.start()
    with mosaik.World(
        {"Unit": {"python": f"{__name__}:UnitSimulator"}},
        cache=False,  # with it, mosaik 3.6 drops a slow unit's last output before its delayed readers have seen it
        time_resolution=tick_ns / 1e9,
        skip_greetings=True,
        configure_logging=False,
    ) as world:
        entities = {
            s.unit.name: world.start("Unit", sim_id=s.unit.name, stepper=s, tick_ns=tick_ns).Unit() for s in steppers
        }
        start = {s.unit.name: s.outbox.payload.copy() for s in steppers}
        for stepper in steppers:
            for name, feed in stepper.inbox.feeds.items():
                shift: dict[str, Any] = (
                    {} if feed.comes_first else {"time_shifted": True, "initial_data": {_VALUES: start[name]}}
                )
                world.connect(entities[name], entities[stepper.unit.name], _VALUES, **shift)
        if steppers[0].is_paced:
            _in_turn(world, [entities[s.unit.name] for s in sorted(steppers, key=lambda s: s.unit.rank)])
        try:
            world.run(until=-(-until_ns // tick_ns), print_progress=False)
        finally:
            world.loop.run_until_complete(_none_left())
    for stepper in steppers:  # mosaik returns normally also when a simulator has failed
        stepper.check_reached(until_ns)


async def _none_left() -> None:
    """End the tasks of simulators that have not come to their end, as after a failure of one."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _in_turn(world: Any, by_rank: list[Any]) -> None:
    """Let no unit be ahead of another: they share a thread, and one that waits for its instant would hold up all."""
    for (first, source), (second, target) in permutations(enumerate(by_rank), 2):
        back = {"time_shifted": True, "initial_data": {_TURN: 0.0}} if first > second else {}
        world.connect(source, target, _TURN, **back)
