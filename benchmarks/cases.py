"""What is measured: shipped scenarios with overrides, under every engine and placement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import ieee9500

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Mover:
    """An engine and where it puts the federates."""

    name: str
    engine: str
    placement: str = "together"


MOVERS = (
    Mover("local", "local"),
    Mover("helics together", "helics"),
    Mover("helics apart", "helics", "apart"),
    Mover("mosaik", "mosaik"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario as it is measured."""

    name: str
    what: str
    scenario: str | Callable[[], Path]
    """A shipped one; or whoever writes one."""
    step_s: float
    steps: int
    own_overrides: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return SCENARIOS / self.scenario if isinstance(self.scenario, str) else self.scenario()

    @property
    def overrides(self) -> list[str]:
        return [
            'federates.grid.kind="timed-opendss"',
            "checks=[]",
            'deadlines={"join_s": 300}',
            f"step_s={self.step_s:g}",
            f"duration_s={self.steps * self.step_s:g}",
            *self.own_overrides,
        ]

    def shortened(self, to: float) -> Case:
        """Return the case with this share of its steps."""
        return replace(self, steps=round(self.steps * to))


def _ieee123(ders: int, mode: str, steps: int) -> Case:
    """Rooftops of 800 kVA in sum, however many: the work of the solver changes with their number, not the feeder."""
    return Case(
        name=f"ieee123-{ders}-{mode}",
        what=f"IEEE 123, {ders} rooftops with volt-var, {mode}, 1 s steps",
        scenario="ieee123.json",
        step_s=1,
        steps=steps,
        own_overrides=(
            f"federates.rooftops.at.count={ders}",
            f"federates.rooftops.rated_kva=[{400 / ders:g}, {1200 / ders:g}]",
            f'coupling={{"mode": "{mode}", "tolerance": 1e-6}}',
        ),
    )


def _ieee9500(mode: str, steps: int, tolerance: float, powers: str) -> Case:
    """To OpenDSS's own tolerance a bare solution takes two iterations; to 1e-8, which is nearer derloop's, many."""
    return Case(
        name=f"ieee9500-{mode}-{tolerance:g}-{powers}",
        what=f"IEEE 9500, 1000 rooftops with volt-var, {mode}, 1 s steps, solved to {tolerance:g}, powers {powers}",
        scenario=ieee9500.scenario if tolerance > ieee9500.FINEST else ieee9500.scenario_earthed,
        step_s=1,
        steps=steps,
        own_overrides=(
            f"federates.grid.tolerance={tolerance:g}",
            f'federates.grid.powers="{powers}"',
            f'coupling={{"mode": "{mode}", "tolerance": 1e-5}}',
        ),
    )


CASES = (
    Case(
        name="ieee13-10-delayed",
        what="IEEE 13, 10 rooftops with volt-var, delayed, 1 s steps: overhead is everything",
        scenario="kind_pv.json",
        step_s=1,
        steps=3000,
        own_overrides=("federates.homes=null", "federates.rooftops.at.count=10", 'coupling={"mode": "delayed"}'),
    ),
    Case(
        name="quickstart-model",
        what="quickstart, every device a model, 60 s steps",
        scenario="quickstart.json",
        step_s=60,
        steps=1440,
        own_overrides=('federates.inverters.via="model"',),
    ),
    Case(
        name="quickstart-emulator",
        what="quickstart as shipped: two inverters behind Modbus servers, 60 s steps",
        scenario="quickstart.json",
        step_s=60,
        steps=720,
    ),
    _ieee123(100, "delayed", 2000),
    _ieee123(100, "converged", 1000),
    _ieee123(1000, "delayed", 1000),
    _ieee123(1000, "converged", 400),
    *(
        _ieee9500(mode, steps, tolerance, powers)
        for mode, steps in (("delayed", 400), ("converged", 200))
        for tolerance in (1e-4, 1e-8)
        for powers in ("head", "everywhere")
        if ieee9500.is_installed()
    ),
)
