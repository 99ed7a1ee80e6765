"""Loops within an instant: how they converge, and what is said of those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from toys import Recording, S, ports, steppers_of, wire

from derloop.contract import Bundle, FloatArray, Interface, Jacobian, Values
from derloop.coupling import Anderson, Convergence, differences, gone_on
from derloop.engines import local
from derloop.engines.stepping import Member, Progress
from derloop.engines.turns import Timed
from derloop.errors import FederateError
from derloop.federation import Federation
from derloop.kind import Permissions
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"


class Affine:
    """y = gain * (sum of inputs) + offset, for each element; keeps when it was called."""

    def __init__(self, gain: float, offset: FloatArray, inputs: Sequence[str] = "u") -> None:
        self._gain, self._offset = gain, offset
        self._interface = Interface(S, ports(dict.fromkeys(inputs, offset.size)), ports({"y": offset.size}))
        self.calls: list[int] = []

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return {"y": np.zeros(self._offset.size)}

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.calls.append(now_ns)
        return {"y": self._gain * sum(inputs.values()) + self._offset}

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
    assert federation.federates["b"].calls.count(0) == passes[0]  # type: ignore[attr-defined]


class Driven(Affine):
    """Its offset is given for each instant."""

    def __init__(self, offsets: Sequence[float]) -> None:
        super().__init__(0.5, np.zeros(2))
        self._offsets = offsets

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._offset = np.full(2, self._offsets[now_ns // S])
        return super().step(now_ns, inputs)


def passes_of(offsets: Sequence[float], depth: int = 8) -> list[float]:
    """Return how many passes each instant of a loop takes that is driven so."""
    recording = Recording()
    wires = [wire("a.y -> b.u"), wire("b.y -> a.u converged")]
    federates = {"a": Driven(offsets), "b": Affine(1.0, np.zeros(2))}
    federation = Federation(federates, wires, Convergence(tolerance=1e-9, depth=depth))
    local.run(steppers_of(federation, recording), len(offsets) * S)
    return [float(np.frombuffer(values["passes"])[0]) for _, values in recording.seen["loop@a"]]


def test_instants_that_go_on_as_the_last_ones_did_take_one_pass() -> None:
    line, parabola = [0.1 * i for i in range(8)], [0.01 * i * i for i in range(8)]
    assert passes_of(line)[3:] == [1.0] * 5
    assert passes_of(parabola)[4:] == [1.0] * 4
    assert passes_of([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])[4:] == [1.0, 1.0]  # after a jump it is not gone on with
    assert min(passes_of(line, depth=0)[1:]) > 1  # a plain fixed point begins where the last one ended


@pytest.mark.parametrize(
    ("ends", "guess"),
    [
        ([5.0], 5.0),
        ([5.0, 3.0], 5.0),  # nothing says how the last one came
        ([5.0, 3.0, 1.0], 7.0),
        ([9.0, 4.0, 1.0, 0.0], 16.0),
        ([2.0, 1.0, 1.0, 1.0], 2.0),
        ([1.0, 2.0, 1.0, 2.0], 1.0),
    ],
)
def test_a_guess_goes_on_by_what_would_have_been_nearest_for_the_last(ends: list[float], guess: float) -> None:
    trend: list[FloatArray] = []
    for end in reversed(ends):
        trend = differences(np.array([end]), trend)
    assert gone_on(trend) == pytest.approx([guess], abs=1e-12)


class Asked(Affine):
    """Keeps on what it was asked."""

    def __init__(self) -> None:
        super().__init__(0.5, np.ones(2))
        self.asked: list[tuple[int, bytes]] = []

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.asked.append((now_ns, inputs["u"].tobytes()))
        return super().step(now_ns, inputs)


def test_devices_are_not_asked_twice_in_a_row_on_one_guess() -> None:
    asked = Asked()
    wires = [wire("a.y -> b.u"), wire("b.y -> a.u converged")]
    run(Federation({"a": asked, "b": Affine(1.0, np.zeros(2))}, wires, Convergence(tolerance=1e-9)))
    assert len(asked.asked) > 2
    assert all(one != next_one for one, next_one in pairwise(asked.asked))
    assert sum(now_ns == S for now_ns, _ in asked.asked) == 1  # each instant asks anew, also on the last one's guess


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
    with pytest.raises(FederateError, match=r"federate 'a\+b' at 0 s: did not converge in 5 passes: .* by 1e\+120 1"):
        run(ring(1e30, Convergence(max_passes=40, depth=0)))


@pytest.mark.parametrize("gain", [1e10, 1e50, -1e50, 1e100, -1e150])
def test_a_loop_that_explodes_is_one_that_does_not_converge(gain: float) -> None:
    class Steep(Affine):
        def step(self, now_ns: int, inputs: Values) -> Values:
            return {"y": self._gain * inputs["u"] ** 3 + self._offset}

    class Kinked(Affine):
        def step(self, now_ns: int, inputs: Values) -> Values:
            return {"y": np.cos(inputs["u"]) * np.sqrt(np.abs(inputs["u"])) + inputs["u"]}

    federates = {"a": Steep(gain, np.ones(2)), "b": Kinked(1.0, np.zeros(2))}
    wires = [wire("a.y -> b.u converged"), wire("b.y -> a.u")]
    with pytest.raises(FederateError, match=r"federate 'b\+a' at 0 s: did not converge in \d+ passes: a\.y at 'y_0'"):
        run(Federation(federates, wires))


def test_anderson_solves_a_linear_system_of_n_in_n_plus_two_passes() -> None:
    rng = np.random.default_rng(7)
    n = 5
    matrix, offset = 0.8 * rng.normal(size=(n, n)), rng.normal(size=n)
    accelerate, x = Anderson(n, depth=n), np.zeros(n)
    for _ in range(n + 2):
        x = accelerate.next(x, matrix @ x + offset - x)
    assert x == pytest.approx(np.linalg.solve(np.eye(n) - matrix, offset), abs=1e-8)


class Feeder:
    """v = v0(t) + X q, told from the outside when to change; counts its solutions at each instant."""

    def __init__(self, x: FloatArray, guess: FloatArray | None = None) -> None:
        self.x, self.guess = x, guess
        self.v0 = np.full(len(x), 1.0)
        self.interface = Interface(S, ports({"q": len(x)}), ports({"v": len(x)}))
        self.solutions: Counter[int] = Counter()

    def start(self) -> Values:
        return {"v": self.v0}

    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian:
        assert (inputs, outputs) == (["q"], ["v"])
        left = np.zeros((len(self.x), 0)) if self.guess is None else self.guess
        return Jacobian(left.shape[1], {"v": left}, {"q": np.eye(left.shape[1], len(self.x))})

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.solutions[now_ns // S] += 1
        return {"v": self.v0 + self.x @ inputs["q"]}

    def stop(self) -> None:
        pass


class Inverters:
    """q = -gain (v - 1) beyond a deadband, and no more than a limit."""

    def __init__(self, n: int, gain: float, most: float, deadband: float = 0.0) -> None:
        self._gain, self._most, self._deadband = gain, most, deadband
        self.interface = Interface(S, ports({"v": n}), ports({"q": n}))

    def start(self) -> Values:
        return self.step(0, {"v": np.ones(self.interface.inputs["v"].size)})

    def step(self, now_ns: int, inputs: Values) -> Values:
        off = inputs["v"] - 1.0
        off = np.sign(off) * np.maximum(np.abs(off) - self._deadband, 0.0)
        return {"q": np.clip(-self._gain * off, -self._most, self._most)}

    def stop(self) -> None:
        pass


N = 12
COUPLED = wire("feeder.v -> inverters.v converged"), wire("inverters.q -> feeder.q")


def reactance(seed: int = 3) -> FloatArray:
    """Symmetric, positive, a few directions that count: as that of a feeder."""
    root = np.random.default_rng(seed).normal(size=(N, N)) * 0.5 ** np.arange(N)
    return 0.02 * root @ root.T


def solutions(
    feeder: Feeder, inverters: Inverters, v0: Sequence[ArrayLike], changed: Callable[[int], None]
) -> list[int]:
    """Return how often the feeder was solved at each instant, with these voltages before any reactive power."""
    federation = Federation({"feeder": feeder, "inverters": inverters}, COUPLED, Convergence(tolerance=1e-8))
    (stepper,) = steppers_of(federation, Recording())
    stepper.start()
    for k, v in enumerate(v0):
        feeder.v0 = np.broadcast_to(np.asarray(v, dtype=np.float64), (N,)).copy()
        changed(k)
        stepper.step(k * S)
    return [feeder.solutions[k] for k in range(len(v0))]


def nothing(_: int) -> None:
    """Nothing changes but the voltage."""


@pytest.mark.parametrize("deadband", [0.0, 0.01])
@pytest.mark.parametrize("most", [0.05, 0.4, 10.0])
def test_limits_and_deadbands_cost_no_solutions_once_the_feeder_is_known(most: float, deadband: float) -> None:
    """From a start without voltage error, into limits, out of them, through the deadband, and back."""
    course = [1.03, 1.2, 1.03, 1.0, 0.97, 0.8, 1.0, 1.03]
    found = solutions(Feeder(reactance()), Inverters(N, 20.0, most, deadband), course, nothing)
    assert max(found) <= 8
    assert np.mean(found[2:]) <= 3.0


def test_what_a_feeder_knows_of_its_answers_saves_solutions() -> None:
    wrong_by = 1.0 + 0.03 * np.random.default_rng(1).normal(size=(N, N))
    inverters, v0 = Inverters(N, 10.0, 0.4), [1.0 + 0.02 * np.random.default_rng(2).normal(size=N)]
    without = solutions(Feeder(reactance()), inverters, v0, nothing)
    told = solutions(Feeder(reactance(), reactance() * wrong_by), inverters, v0, nothing)
    assert told[0] <= 6
    assert without[0] >= told[0] + 2


def test_answers_of_which_a_feeder_knows_nothing_are_learnt() -> None:
    class Silent(Feeder):
        def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian:
            return Jacobian(0, {}, {})

    assert solutions(Silent(reactance()), Inverters(N, 20.0, 0.4), [1.05, 1.04], nothing)[0] <= 8


MISFITS = {
    "no jacobian": ({}, "they are dict, no Jacobian"),
    "rank": (Jacobian(-1, {}, {}), "they have the rank -1"),
    "left": (Jacobian(1, {"y": np.ones((3, 1))}, {}), r"those of 'y' have shape (3, 1), expected (2, 1)"),
    "right": (Jacobian(1, {}, {"u": np.ones(2)}), r"those of 'u' have shape (2,), expected (1, 2)"),
    "not a number": (Jacobian(1, {"y": np.full((2, 1), np.nan)}, {}), "those of 'y' are not finite"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_answers_that_do_not_fit_are_told_in_the_name_of_who_gave_them(what: str) -> None:
    misfit, why = MISFITS[what]

    class Mistaken(Affine):
        def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
            return misfit

    federates = {"a": Affine(0.5, np.ones(2)), "b": Mistaken(1.0, np.zeros(2))}
    with pytest.raises(FederateError) as caught:
        run(Federation(federates, [wire("a.y -> b.u"), wire("b.y -> a.u converged")]))
    assert (caught.value.federate, caught.value.why) == ("b", f"does not know its answers: {why}")


def test_a_guess_of_the_wrong_sign_is_found_out() -> None:
    found = solutions(Feeder(reactance(), -reactance()), Inverters(N, 20.0, 0.4), [1.05, 1.04], nothing)
    assert max(found) <= 20


def test_a_switched_feeder_is_learnt_anew() -> None:
    feeder = Feeder(reactance())

    def switched(k: int) -> None:
        if k == 3:
            feeder.x = reactance(8)

    found = solutions(feeder, Inverters(N, 20.0, 0.4), [1.03, 1.05, 1.02, 1.04, 1.05, 1.03], switched)
    assert max(found) <= 12
    assert found[-1] <= 3


def test_a_loop_whose_answer_is_read_within_the_instant_converges_too() -> None:
    """a = (b + c) / 2 + 1, b = -3 a, c = b + 1, where c reads b at once: the whole sweep is learnt from."""
    federates = {"a": Affine(0.5, np.ones(2), "uw"), "b": Affine(-3.0, np.zeros(2)), "c": Affine(1.0, np.ones(2))}
    texts = ["a.y -> b.u", "b.y -> a.u converged", "b.y -> c.u", "c.y -> a.w converged"]
    found = run(Federation(federates, [wire(text) for text in texts], Convergence(tolerance=1e-10)))
    assert found["a.y"] == pytest.approx([0.375, 0.375], abs=1e-9)
    assert found["c.y"] == pytest.approx([-0.125, -0.125], abs=1e-9)
    assert found["loop@a.passes"] == [1.0]


class Iterated(Affine):
    """Gives `y` when iterated, and the sum of all of it, `total`, when it concludes."""

    def __init__(self) -> None:
        super().__init__(0.5, np.ones(2))
        self._interface = Interface(S, ports({"u": 2}), ports({"y": 2, "total": 1}))
        self._told = Bundle(self._interface.outputs)
        self.concluded: list[int] = []

    def start(self) -> Values:
        return self._told

    def iterated(self) -> Sequence[str]:
        return ("y",)

    def iterate(self, now_ns: int, inputs: Values) -> Values:
        self._told |= super().step(now_ns, inputs)
        return self._told

    def conclude(self) -> Values:
        self.concluded.append(self.calls[-1])
        self._told["total"][0] = self._told["y"].sum()
        return self._told

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.iterate(now_ns, inputs)
        return self.conclude()


def beside(iterated: Iterated, *more: str) -> Federation:
    """The federate `a` answers `b`, in a loop."""
    inputs = ("u", "w") if more else ("u",)
    sizes = {"u": 2, "w": 1} if more else {"u": 2}
    asked = Affine(1.0, np.zeros(2), inputs)
    asked._interface = Interface(S, ports(sizes), ports({"y": 2}))
    wires = [wire(text) for text in ("a.y -> b.u converged", "b.y -> a.u", *more)]
    return Federation({"a": iterated, "b": asked}, wires, Convergence(tolerance=1e-9))


def test_what_only_others_read_is_concluded_once_an_instant() -> None:
    iterated = Iterated()
    found = run(beside(iterated))
    assert iterated.calls.count(0) >= 2
    assert iterated.concluded == [0, S]
    assert found["a.y"] == pytest.approx([2.0, 2.0], abs=1e-8)
    assert found["a.total"][0] == found["a.y"].sum()


def test_a_federate_of_which_more_is_read_in_the_loop_is_stepped() -> None:
    iterated = Iterated()
    federation = beside(iterated, "a.total -> b.w converged")
    with suppress(FederateError):  # whether this loop has an equilibrium is another question
        run(federation)
    assert iterated.concluded == iterated.calls


def test_what_fails_in_concluding_is_named_with_its_instant() -> None:
    class Failing(Iterated):
        def conclude(self) -> Values:
            if self.calls[-1] == S:
                raise ValueError("no total")
            return super().conclude()

    with pytest.raises(FederateError, match="federate 'a' at 1 s: ValueError: no total"):
        run(beside(Failing()))


def test_passes_and_what_concludes_them_are_timed_together() -> None:
    federate = Iterated()
    timed = Timed("a", Member("a", federate, federate.interface, Progress()))
    timed.start()
    assert timed.iterates({"y"})
    assert not timed.iterates({"y", "total"})
    timed.iterate(S, {"u": np.ones(2)})
    passed_s = timed.took_s
    assert timed.conclude(S, {"u": np.ones(2)})["total"].tolist() == [3.0]
    assert 0.0 < passed_s < timed.took_s


def test_a_federate_that_does_not_know_what_it_iterates_is_named() -> None:
    class Lost(Iterated):
        def iterated(self) -> Sequence[str]:
            raise LookupError("no such port")

    with pytest.raises(FederateError, match="does not know what it iterates: LookupError: no such port") as caught:
        run(beside(Lost()))
    assert (caught.value.federate, caught.value.now_ns) == ("a", None)


def test_the_feeder_of_a_converged_scenario_is_iterated() -> None:
    """Sums of powers in each pass would show in no result."""
    permissions = Permissions(trust_feeder=True)
    federation = assemble(load(SCENARIOS / "kind_pv.json", ["duration_s=1200"], permissions), permissions)
    feeder, calls = federation.federates["grid"], Counter[str]()

    def counted(name: str) -> Callable[..., Values]:
        plain: Callable[..., Values] = getattr(feeder, name)

        def step(*given: Any) -> Values:
            calls[name] += 1
            return plain(*given)

        return step

    for name in ("iterate", "conclude", "step"):
        setattr(feeder, name, counted(name))
    local.run(steppers_of(federation, Recording()), 1200 * S)
    assert calls["step"] == 0
    assert calls["conclude"] == 1200 * S // federation.interfaces["grid"].step_ns
    assert calls["iterate"] > calls["conclude"]
