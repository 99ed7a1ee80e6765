"""What a service is to a virtual power plant: it takes what members are asked for so far, and asks for more or less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from derloop.contract import Port, Values
from derloop.kind import Context, Settings
from federates.control.vpp.dispatch import Dispatch, Hours
from federates.control.vpp.members import Fleets, Measured

Decides = Literal["power", "recharge", "headroom", "sites", "voltage"]
"""What a service decides on: the sum of all powers, when members recharge, what is held back ..."""


class ServiceSettings(Settings):
    """What all services have in common."""

    decides: ClassVar[tuple[Decides, ...]] = ()
    """Two services that decide on the same contradict each other."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a service stands: in which plant, and with what members."""

    context: Context
    step_ns: int
    fleets: Fleets
    path: tuple[str | int, ...]
    """Leads to its settings."""
    efficiency_pu: float = 1.0
    """Of charging, and of discharging, as plans assume it."""

    @property
    def step_h(self) -> float:
        return self.step_ns / 3.6e12


@dataclass(frozen=True, slots=True)
class Now:
    """What a service may know at an instant, all of it from the last one."""

    time_ns: int
    inputs: Values
    members: Measured
    hours: Hours | None
    """For how long members could go on, where the plant shares by that."""
    base_kw: float
    """The sum of what was asked at the last instant, without what was deployed of headroom."""
    deployed_kw: float
    """The sum of what was deployed."""
    is_deaf: bool = False
    """Whether what the service reads is too old to go by."""


class Service(Protocol):
    """One service of a plant. State: as the last instant left it, and as this one does."""

    @property
    def inputs(self) -> Mapping[str, Port]:
        """What it reads beside the members' own ports."""
        ...

    @property
    def outputs(self) -> Mapping[str, Port]:
        """What it tells."""
        ...

    def advance(self) -> None:
        """Let a new instant begin: what the last call left is what this one starts from."""
        ...

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        """Return the dispatch with what it needs; may be called again for the same instant."""
        ...

    def told(self) -> Values:
        """Return its outputs after `serve`, or before the first one."""
        ...
