"""Loops within an instant: how they converge, and what is said of those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from toys import Recording, S, ports, steppers_of, wire

from derloop.contract import FloatArray, Interface, Values
from derloop.coupling import Anderson, Convergence
from derloop.engines import local
from derloop.errors import FederateError
from derloop.federation import Federation


class Affine:
    """y = gain * u + offset, for each element; keeps what it was given at each pass."""

    def __init__(self, gain: float, offset: FloatArray) -> None:
        self._gain, self._offset = gain, offset
        self._interface = Interface(S, ports({"u": offset.size}), ports({"y": offset.size}))
        self.calls: list[int] = []

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return {"y": np.zeros(self._offset.size)}

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.calls.append(now_ns)
        return {"y": self._gain * inputs["u"] + self._offset}

    def stop(self) -> None:
        pass


def ring(gain: float, convergence: Convergence) -> Federation:
    """a = gain * b + 1, b = a: converges to 1 / (1 - gain)."""
    federates = {"a": Affine(gain, np.ones(2)), "b": Affine(1.0, np.zeros(2))}
    return Federation(federates, [wire("a.y -> b.u"), wire("b.y -> a.u converged")], convergence)


def run(federation: Federation) -> dict[str, FloatArray]:
    """Return the last outputs of each federate and loop after two instants."""
    recording = Recording()
    local.run(steppers_of(federation, recording), 2 * S)
    return {
        f"{name}.{port}": np.frombuffer(value)
        for name, seen in recording.seen.items()
        for port, value in seen[-1][1].items()
    }


@pytest.mark.parametrize("gain", [0.5, -0.9, -3.0, 2.5])
def test_a_linear_loop_converges_in_few_passes_also_where_a_fixed_point_would_not(gain: float) -> None:
    found = run(ring(gain, Convergence(tolerance=1e-9)))
    assert found["a.y"] == pytest.approx(np.full(2, 1 / (1 - gain)), abs=1e-8)
    assert found["loop@a.passes"] == [1.0]  # the second instant starts from the first one's solution
    assert found["loop@a.residual"][0] <= 1e-9


def test_how_often_it_iterated_is_recorded_for_each_instant() -> None:
    recording = Recording()
    federation = ring(0.5, Convergence(tolerance=1e-9))
    local.run(steppers_of(federation, recording), 2 * S)
    passes = [np.frombuffer(values["passes"])[0] for _, values in recording.seen["loop@a"]]
    assert passes[1] == 1
    assert 2 <= passes[0] <= 5
    assert federation.federates["a"].calls.count(0) == passes[0]  # type: ignore[attr-defined]


def test_a_loop_that_does_not_converge_says_who_hunts() -> None:
    with pytest.raises(FederateError) as caught:
        run(ring(-1.0, Convergence(tolerance=1e-6, max_passes=7, depth=0)))
    error = caught.value
    assert (error.federate, error.now_ns) == ("a+b", 0)
    assert error.why.startswith("did not converge in 7 passes: b.y at 'y_0' still moves by 1 1 (tolerance 1e-06; last ")
    assert error.why.endswith("2 of 2 values hunt between a and b")


def test_the_value_that_hunts_most_is_the_one_that_is_shown() -> None:
    federates = {"a": Affine(-1.0, np.array([1.0, 5.0, 0.0])), "b": Affine(1.0, np.zeros(3))}
    wires = [wire("a.y -> b.u"), wire("b.y -> a.u converged")]
    with pytest.raises(FederateError, match=r"b\.y at 'y_1' still moves by 5 .*; 2 of 3 values hunt"):
        run(Federation(federates, wires, Convergence(max_passes=6, depth=0)))


def test_a_value_that_grows_without_limit_ends_the_loop_by_name() -> None:
    with (
        pytest.raises(FederateError, match=r"federate '[ab]' at 0 s: output 'y' is not finite"),
        np.errstate(all="ignore"),
    ):
        run(ring(1e30, Convergence(max_passes=40, depth=0)))


def test_anderson_solves_a_linear_system_of_n_in_n_plus_two_passes() -> None:
    rng = np.random.default_rng(7)
    n = 5
    matrix, offset = 0.8 * rng.normal(size=(n, n)), rng.normal(size=n)
    accelerate, x = Anderson(n, depth=n), np.zeros(n)
    for _ in range(n + 2):
        x = accelerate.next(x, matrix @ x + offset - x)
    assert x == pytest.approx(np.linalg.solve(np.eye(n) - matrix, offset), abs=1e-8)
