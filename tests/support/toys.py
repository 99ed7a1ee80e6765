"""Small federates and wirings for tests of the contract and its engines."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event

import numpy as np

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.engines.stepping import Stepper
from derloop.federation import Federation
from derloop.wires import Ref, Wire

S = 1_000_000_000


def ports(sizes: Mapping[str, int]) -> dict[str, Port]:
    return {name: Port("1", tuple(f"{name}_{i}" for i in range(size))) for name, size in sizes.items()}


class Mixer:
    """x' = cos(x + A u + t): nonlinear in every input, so a value of the wrong instant shows in all that follows."""

    def __init__(
        self,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        step_s: float,
        seed: int,
        blocking: bool = False,
        repeatable: bool = True,
        gain: float = 0.1,
    ) -> None:
        self._interface = Interface(round(step_s * S), ports(inputs), ports(outputs), repeatable, blocking)
        rng = np.random.default_rng(seed)
        self._gains = {(o, i): gain * rng.normal(size=(n, m)) for o, n in outputs.items() for i, m in inputs.items()}
        self._state: dict[str, FloatArray] = {o: rng.normal(size=n) for o, n in outputs.items()}
        self._next = self._state
        self._now_ns = -1
        self.stops = 0

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._state

    def step(self, now_ns: int, inputs: Values) -> Values:
        if now_ns != self._now_ns:
            self._state, self._now_ns = self._next, now_ns
        self._next = {
            o: np.cos(x + sum((self._gains[o, i] @ inputs[i] for i in inputs), start=np.zeros(x.size)) + now_ns * 1e-9)
            for o, x in self._state.items()
        }
        return self._next

    def stop(self) -> None:
        self.stops += 1


def wire(text: str) -> Wire:
    """Return the wire in "a.x -> b.y [coupling]"."""
    source, _, target, *coupling = text.split()
    return Wire(_ref(source), _ref(target), coupling[0] if coupling else "direct")  # type: ignore[arg-type]


def _ref(text: str) -> Ref:
    federate, _, port = text.partition(".")
    return Ref(federate, port)


Record = dict[str, list[tuple[int, dict[str, bytes]]]]


class Recording:
    """Keeps the bytes of everything that is observed."""

    def __init__(self) -> None:
        self.seen: Record = {}

    def __call__(self, federate: str, now_ns: int, values: Values) -> None:
        self.seen.setdefault(federate, []).append((now_ns, {port: v.tobytes() for port, v in values.items()}))


def steppers_of(federation: Federation, recording: Recording, cancelled: Event | None = None) -> list[Stepper]:
    return [Stepper(federation, unit, recording, cancelled or Event()) for unit in federation.units]


def star(coupling: str = "delayed", blocking: bool = False) -> Federation:
    """A grid, fleets at several steps, a control; loops, forward delays, a slow and a fast reader."""
    federates = {
        "grid": Mixer({"p": 5, "q": 3}, {"v": 5, "w": 4}, 60, 1),
        "pv": Mixer({"v": 5}, {"p": 5}, 60, 2),
        "battery": Mixer({"w": 4, "x": 2}, {"q": 3, "soc": 2}, 60, 3, blocking=blocking),
        "vpp": Mixer({"soc": 2, "w": 4}, {"x": 2}, 300, 4),
        "fast": Mixer({"v": 5, "x": 2}, {"y": 1}, 20, 5),
        "slow": Mixer({"y": 1, "p": 5}, {"z": 1}, 120, 6),
    }
    wires = [
        f"grid.v -> pv.v {coupling}",
        "grid.w -> battery.w delayed",
        "pv.p -> grid.p",
        "battery.q -> grid.q",
        "vpp.x -> battery.x",
        "battery.soc -> vpp.soc delayed",
        "grid.w -> vpp.w delayed",
        "grid.v -> fast.v",
        "vpp.x -> fast.x delayed",
        "fast.y -> slow.y",
        "pv.p -> slow.p delayed",
    ]
    return Federation(federates, [wire(w) for w in wires])
