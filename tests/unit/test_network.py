"""The network: when what is said arrives, and whether it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fleets import S, context
from pydantic import ValidationError

from derloop.contract import FloatArray, Interface, Port
from derloop.kind import PlaceError
from federates.network.links import NetworkSettings
from federates.network.network import Network

STEP_S = 10.0


class Scene:
    """Cells that tell a control of themselves, and are told by it; what cells say is the instant at which they do."""

    def __init__(
        self, count: int = 1, seed: int = 7, silent_s: Callable[[int], float] | None = None, **said: Any
    ) -> None:
        labels = tuple(f"cell_{i}" for i in range(count))
        told = {f"cells.{port}": Port(unit, labels, "before") for port, unit in (("p_kw", "kW"), ("soc_pu", "pu"))}
        age = {"cells.age_s": Port("s", labels, otherwise=0.0)}
        interfaces = {
            "cells": Interface(
                10 * S,
                {"p_set_kw": Port("kW", labels), "reached": Port("1", labels, otherwise=1.0)},
                {"p_kw": Port("kW", labels), "soc_pu": Port("pu", labels)},
            ),
            "control": Interface(10 * S, told | age, {"cells.p_set_kw": Port("kW", labels)}),
        }
        signals = [(f"cells.{port}", f"control.cells.{port}") for port in ("p_kw", "soc_pu")]
        signals.append(("control.cells.p_set_kw", "cells.p_set_kw"))
        settings = NetworkSettings.model_validate(said)
        listeners: Any = {"control": SimpleNamespace(silent_s=silent_s)}
        carried: dict[str, Any] = {"interfaces": interfaces, "signals": tuple(signals), "settings": listeners}
        self.network = Network(settings, context(10 * S, seed=seed, **carried))

    def heard(self, steps: int, say: Callable[[int], float] = lambda k: k * STEP_S) -> dict[str, FloatArray]:
        """Return every output at each instant (steps, n). say: what is said at instant k; -1 is the start."""
        self.network.start()
        ports, found = self.network.interface.inputs, []
        for k in range(steps):
            inputs = {name: np.full(port.size, say(k - 1)) for name, port in ports.items()}
            found.append({name: value.copy() for name, value in self.network.step(k * 10 * S, inputs).items()})
        return {name: np.array([values[name] for values in found]) for name in found[0]}

    @property
    def counts(self) -> dict[str, int]:
        return {name: int(value) for name, value in self.network.statistics().items() if ":" not in name}


def told(steps: int, links: Sequence[dict[str, Any]], *, count: int = 1, **other: Any) -> FloatArray:
    """Return what the control is told of the cells' power at each instant (steps, count)."""
    return Scene(count, links=links, **other).heard(steps)["control.cells.p_kw"]


def link(**said: Any) -> dict[str, Any]:
    return {"from": "cells", "to": "control", **said}


def constant(latency_s: float) -> dict[str, Any]:
    return {"kind": "constant", "s": latency_s}


# --- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency_s", "steps"), [(0.0, 1), (0.4, 1), (10.0, 1), (10.1, 2), (20.0, 2), (25.0, 3), (30.0, 3)]
)
def test_a_latency_is_rounded_up_to_steps_of_which_there_is_one_at_least(latency_s: float, steps: int) -> None:
    """What is said at instant k is k h: so what is told at instant k is (k - steps) h."""
    found = told(8, [link(latency=constant(latency_s))])[:, 0]
    assert found[steps:].tolist() == [(k - steps) * STEP_S for k in range(steps, 8)]


def test_before_anything_arrives_the_receiver_has_what_is_said_at_the_start() -> None:
    assert told(5, [link(latency=constant(30.0))])[:, 0].tolist() == [-10.0, -10.0, -10.0, 0.0, 10.0]


def test_a_message_every_minute_says_what_then_holds() -> None:
    found = told(14, [link(every_s=60.0)])[:, 0]
    assert found.tolist() == [-10.0, *[0.0] * 6, *[60.0] * 6, 120.0]


def test_each_direction_has_a_link_of_its_own() -> None:
    links = [link(latency=constant(20.0)), {"from": "control", "to": "cells", "latency": constant(40.0)}]
    found = Scene(links=links).heard(9)
    assert (found["control.cells.p_kw"][-1, 0], found["cells.p_set_kw"][-1, 0]) == (60.0, 40.0)


def test_stepped_again_for_an_instant_it_gives_the_same() -> None:
    links = [link(loss_pu=0.5, latency={"kind": "uniform", "most_s": 50.0})]
    once, twice = Scene(20, links=links), Scene(20, links=links)
    for k in range(30):
        inputs = {name: np.full(port.size, k * 1.0) for name, port in once.network.interface.inputs.items()}
        first = {name: value.copy() for name, value in once.network.step(k * 10 * S, inputs).items()}
        twice.network.step(k * 10 * S, inputs)
        again = twice.network.step(k * 10 * S, inputs)
        assert all(np.array_equal(first[name], again[name]) for name in first)
    assert once.counts == twice.counts


# --- distributions -----------------------------------------------------------------------------------


def latencies(latency: dict[str, Any], steps: int = 41) -> FloatArray:
    """Return the latency of each message, in steps: what is told is when it was said, where none overtakes another."""
    found = told(steps, [link(latency=latency, every_s=400.0)], count=2000)
    return (found < 0.0).sum(axis=0)


def test_a_uniform_latency_takes_every_number_of_steps_equally_often() -> None:
    """Uniform on 0 to 40 s: a quarter each of 1, 2, 3 and 4 steps; of 2000, 500 +- 4 sigma of 19.4."""
    assert np.bincount(latencies({"kind": "uniform", "most_s": 40.0}))[1:] == pytest.approx([500.0] * 4, abs=78)


def test_a_normal_latency_has_its_mean_and_its_bounds() -> None:
    """Mean 20 s: rounded up to steps of 10 s, half come within 2 steps; the sd of 6 s puts 4.8 % beyond 30 s."""
    found = np.bincount(latencies({"kind": "normal", "mean_s": 20.0, "sd_s": 6.0, "most_s": 30.0}))
    assert found.size == 4  # none later than 30 s
    assert found[:3].sum() == pytest.approx(1000.0, abs=90)


def test_an_exponential_latency_is_more_than_its_mean_in_one_of_e() -> None:
    """P(l > 20 s) = exp(-1) = 0.3679 with a mean of 20 s."""
    found = latencies({"kind": "exponential", "mean_s": 20.0})
    assert (found > 2).mean() == pytest.approx(0.3679, abs=0.044)


def test_an_empirical_latency_is_one_of_those_measured() -> None:
    found = np.bincount(latencies({"kind": "empirical", "s": [5.0, 5.0, 5.0, 25.0]}), minlength=4)
    assert found[[0, 2]].tolist() == [0, 0]
    assert found[3] == pytest.approx(500.0, abs=78)


# --- loss --------------------------------------------------------------------------------------------


def test_the_share_that_is_lost_is_within_binomial_bounds() -> None:
    """10 000 messages lost with 0.1: 1000 with a standard deviation of 30; four of these are 120."""
    scene = Scene(100, links=[link(loss_pu=0.1)])
    scene.heard(101)
    assert scene.counts["sent"] == 10_000
    assert scene.counts["lost"] == pytest.approx(1000, abs=120)
    assert scene.counts["delivered"] == scene.counts["sent"] - scene.counts["lost"]


def test_what_is_lost_leaves_the_last_value_that_arrived() -> None:
    found = told(60, [link(loss_pu=0.5)], count=10)
    moved = np.diff(found, axis=0)
    newest = (np.arange(60) - 1.0)[:, None] * STEP_S
    assert ((moved[1:] == 0.0) | (found[2:] == newest[2:])).all()
    assert (moved[1:] == 0.0).mean() == pytest.approx(0.5, abs=0.09)


def test_all_that_a_device_says_at_once_arrives_or_is_lost_together() -> None:
    found = Scene(20, links=[link(loss_pu=0.5)]).heard(40)
    assert np.array_equal(found["control.cells.p_kw"], found["control.cells.soc_pu"])


def test_losses_in_runs_are_as_many_and_their_runs_as_long_as_asked() -> None:
    """A fifth lost in runs of 5: the chain of Gilbert; 20 000 messages in some 800 runs."""
    found = told(201, [link(loss_pu=0.2, burst_messages=5.0)], count=100)
    is_lost = np.diff(found, axis=0)[1:] == 0.0
    begins = (is_lost[1:] & ~is_lost[:-1]).sum() + is_lost[0].sum()
    assert is_lost.mean() == pytest.approx(0.2, abs=0.04)
    assert is_lost.sum() / begins == pytest.approx(5.0, abs=0.8)


def test_a_link_that_loses_all_is_never_heard() -> None:
    assert (told(50, [link(loss_pu=1.0, burst_messages=2.0)], count=50) == -10.0).all()


# --- order, duplicates, bandwidth --------------------------------------------------------------------

SPREAD = {"kind": "uniform", "most_s": 100.0}


def test_messages_that_keep_their_order_are_never_overtaken() -> None:
    scene = Scene(50, links=[link(latency=SPREAD)])
    assert (np.diff(scene.heard(60)["control.cells.p_kw"], axis=0) >= 0.0).all()
    assert scene.counts["late"] == 0


def test_of_messages_that_overtake_the_newest_is_kept_or_each_is_taken_for_news() -> None:
    newest, taken = (Scene(50, links=[link(latency=SPREAD, order=order)]) for order in ("newest", "as-arrived"))
    assert (np.diff(newest.heard(60)["control.cells.p_kw"], axis=0) >= 0.0).all()
    assert (np.diff(taken.heard(60)["control.cells.p_kw"], axis=0) < 0.0).any()
    assert newest.counts["late"] > 0


def test_to_wait_for_those_before_takes_longer_than_to_throw_away_what_was_overtaken() -> None:
    kept, newest = (told(60, [link(latency=SPREAD, order=order)], count=50) for order in ("kept", "newest"))
    assert (newest >= kept).all()
    assert (newest > kept).any()


def test_a_message_that_comes_twice_can_undo_a_newer_one() -> None:
    links = [link(latency={"kind": "empirical", "s": [0.0, 40.0]}, order="as-arrived", duplicate_pu=1.0)]
    scene = Scene(20, links=links)
    assert (np.diff(scene.heard(40)["control.cells.p_kw"], axis=0) < 0.0).any()
    assert scene.counts["duplicated"] == scene.counts["sent"] == 20 * 39


def test_duplicates_of_what_keeps_its_order_change_nothing_but_the_counts() -> None:
    once, twice = (Scene(20, links=[link(latency=constant(25.0), duplicate_pu=share)]) for share in (0.0, 1.0))
    assert np.array_equal(once.heard(20)["control.cells.p_kw"], twice.heard(20)["control.cells.p_kw"])
    assert twice.counts["delivered"] == 2 * once.counts["delivered"]


def test_every_message_is_accounted_for() -> None:
    """The last is sent 190 s before the end, and takes 100 s at most."""
    links = [link(latency=SPREAD, order="newest", loss_pu=0.2, duplicate_pu=0.3, every_s=200.0)]
    scene = Scene(50, links=links, events=[{"begins_s": 300, "lasts_s": 200}])
    scene.heard(200)
    counts = scene.counts
    assert counts["sent"] + counts["duplicated"] == counts["delivered"] + counts["lost"]
    assert min(counts["duplicated"], counts["lost"]) > 0


def test_a_line_that_all_share_lets_them_pass_one_after_the_other() -> None:
    """1200 bit/s and 1500 bytes: 10 s each. Of four that say something every 50 s, the k-th arrives after k steps."""
    line = {"bits_per_s": 1200, "message_bytes": 1500, "shared": True, "buffer_s": 60}
    found = told(6, [link(bandwidth=line, every_s=50.0)], count=4)
    assert (found >= 0.0).argmax(axis=0).tolist() == [1, 2, 3, 4]


def test_a_line_of_its_own_delays_a_message_by_the_time_it_takes() -> None:
    line = {"bits_per_s": 1200, "message_bytes": 3000}
    found = told(6, [link(bandwidth=line, every_s=50.0)], count=4)
    assert (found >= 0.0).argmax(axis=0).tolist() == [2, 2, 2, 2]


def test_of_a_shared_line_with_too_little_room_all_have_their_part() -> None:
    """Five seconds each, of ten: of five that speak two are heard, and those who were not are next."""
    line = {"bits_per_s": 160.0, "message_bytes": 100.0, "shared": True, "buffer_s": 5.0}
    scene = Scene(5, links=[link(bandwidth=line)])
    said = scene.heard(41)["control.cells.p_kw"]
    assert (np.diff(said, axis=0) != 0.0).sum(axis=0).tolist() == pytest.approx([16] * 5, abs=1)


def test_what_finds_the_buffer_full_is_lost() -> None:
    """20 s a message, every 10 s: the wait grows by 10 s each time; beyond 35 s one is lost, and every second then."""
    line = {"bits_per_s": 1200, "message_bytes": 3000, "buffer_s": 35}
    scene = Scene(links=[link(bandwidth=line)])
    found = scene.heard(41)["control.cells.p_kw"][:, 0]
    assert scene.counts["sent"] == 40
    assert scene.counts["lost"] == pytest.approx(18, abs=2)
    assert np.unique(found[found >= 0.0]).size == scene.counts["delivered"]


# --- outages and ages --------------------------------------------------------------------------------


def test_in_an_outage_the_last_value_is_held_and_then_heard_again() -> None:
    """Out from 100 s until before 200 s. The value of 80 s arrives at 90 s, that of 200 s at 210 s."""
    found = told(25, [link()], events=[{"begins_s": 100, "lasts_s": 100, "to": "control"}])[:, 0]
    assert found[9] == 80.0
    assert found[10:21].tolist() == [80.0] * 11
    assert found[21] == 200.0


def test_what_is_on_its_way_when_an_outage_begins_does_not_arrive() -> None:
    found = told(25, [link(latency=constant(30.0))], events=[{"begins_s": 100, "lasts_s": 50}])[:, 0]
    assert found[9:18].tolist() == [60.0] * 9
    assert found[18] == 150.0


def test_an_outage_comes_again() -> None:
    events = [{"begins_s": 50, "lasts_s": 30, "repeats_s": 100}]
    found = told(30, [link()], events=events)[:, 0]
    held = [k for k in range(1, 30) if found[k] == found[k - 1]]
    assert held == [5, 6, 7, 8, 15, 16, 17, 18, 25, 26, 27, 28]


def test_an_outage_may_last_for_as_long_as_any_run() -> None:
    found = told(12, [link()], events=[{"begins_s": 50, "lasts_s": 4e9}, {"begins_s": 4e9, "lasts_s": 4e9}])[:, 0]
    assert found[5:].tolist() == [30.0] * 7


@pytest.mark.parametrize(("begins_s", "lasts_s", "repeats_s"), [(31, 10, None), (40, 1, None), (31, 9, 65)])
def test_an_event_that_is_on_at_some_instant_is_allowed(begins_s: float, lasts_s: float, repeats_s: Any) -> None:
    event = {"begins_s": begins_s, "lasts_s": lasts_s, "repeats_s": repeats_s}
    scene = Scene(links=[link()], events=[event])
    scene.heard(40)
    assert scene.counts["lost"] > 0


def test_an_event_may_delay_and_lose_a_share() -> None:
    found = told(20, [link()], events=[{"begins_s": 100, "lasts_s": 10, "loss_pu": 0.0, "delay_s": 30.0}])[:, 0]
    assert found[11:15].tolist() == [90.0, 90.0, 120.0, 130.0]  # that of 110 s waits for that of 100 s
    scene = Scene(100, links=[link()], events=[{"begins_s": 0, "lasts_s": 1000, "loss_pu": 0.3}])
    scene.heard(101)
    assert scene.counts["lost"] == pytest.approx(3000, abs=190)


def test_an_event_concerns_only_whom_it_names() -> None:
    scene = Scene(3, links=[link()], events=[{"begins_s": 20, "lasts_s": 1000, "devices": "cell_1"}])
    assert scene.heard(10)["control.cells.p_kw"][-1].tolist() == [80.0, 0.0, 80.0]


def test_an_age_is_one_step_over_a_perfect_link_and_grows_unheard() -> None:
    scene = Scene(links=[link()], events=[{"begins_s": 100, "lasts_s": 100}])
    ages = scene.heard(25)["control.cells.age_s"][:, 0]
    assert ages[:10].tolist() == [10.0] * 10
    assert ages[10:22].tolist() == [*range(20, 130, 10), 10.0]


def test_an_age_that_is_carried_goes_on_growing() -> None:
    """Meters that say how old their measurements are, 5 s each: over a link of 40 s they are 45 s old when heard."""
    ports = {"p_kw": Port("kW", ("m",)), "age_s": Port("s", ("m",))}
    heard = {"meters.p_kw": Port("kW", ("m",), "before"), "meters.age_s": Port("s", ("m",), "before", 0.0)}
    interfaces = {"meters": Interface(10 * S, {}, ports), "control": Interface(10 * S, heard, {})}
    signals = tuple((f"meters.{port}", f"control.meters.{port}") for port in ports)
    settings = NetworkSettings.model_validate({"links": [{"latency": constant(40.0)}]})
    network = Network(settings, context(10 * S, interfaces=interfaces, signals=signals))
    inputs = {"meters.p_kw": np.ones(1), "meters.age_s": np.array([5.0])}
    ages = [float(network.step(k * 10 * S, inputs)["control.meters.age_s"][0]) for k in range(8)]
    assert ages == [15.0, 25.0, 35.0, 45.0, 45.0, 45.0, 45.0, 45.0]


def test_an_age_is_told_of_values_that_are_late() -> None:
    ages = Scene(links=[link(latency=constant(40.0))]).heard(10)["control.cells.age_s"][:, 0]
    assert ages.tolist() == [10.0, 20.0, 30.0, 40.0] + [40.0] * 6


def test_the_lease_of_what_is_not_renewed_ends_at_the_receiver() -> None:
    links = [{"from": "control", "to": "cells", "lease": {"after_s": 50.0, "value": 0.5}}]
    scene = Scene(links=links, events=[{"begins_s": 100, "lasts_s": 100}])
    found = scene.heard(25)["cells.p_set_kw"][:, 0]
    assert found[10:13].tolist() == [80.0] * 3
    assert found[13:21].tolist() == [0.5] * 8
    assert found[21] == 200.0


def test_a_lease_that_is_longer_than_a_message_takes_lets_it_be_heard() -> None:
    links = [{"from": "control", "to": "cells", "latency": constant(55), "lease": {"after_s": 61.0, "value": 0.5}}]
    assert Scene(links=links).heard(25)["cells.p_set_kw"][10, 0] == 40.0


@pytest.mark.parametrize(
    ("links", "age_s", "pointer"),
    [
        ([link()], 10.0, ("links", 0)),
        ([link(latency=constant(5)), link(latency=constant(55), devices="cell_1")], 60.0, ("links", 1)),
        ([link(latency=constant(5), devices="cell_1")], 10.0, ("links", 0)),
    ],
)
def test_nobody_is_to_be_taken_for_silent_however_well_a_link_works(
    links: list[dict[str, Any]], age_s: float, pointer: tuple[object, ...]
) -> None:
    scene = Scene(2, links=links, silent_s=lambda _: age_s)
    assert scene.heard(20)["control.cells.age_s"][-1].max() == age_s
    with pytest.raises(PlaceError, match=f"'control' does not hear 'cells' in less than {age_s:g} s") as refused:
        Scene(2, links=links, silent_s=lambda _: age_s - 1)
    assert [path for path, _ in refused.value.problems] == [pointer]


def test_a_link_that_takes_longer_than_a_control_waits_unless_it_is_told_is_refused() -> None:
    """Three of its steps, of 10 s."""
    why = "in less than 40 s, in steps of 10 s: always silent, as what is older than 30 s is"
    with pytest.raises(PlaceError, match=why):
        Scene(links=[link(latency=constant(40))], silent_s=lambda step_ns: 3 * step_ns / S)
    Scene(links=[link(latency=constant(30))], silent_s=lambda step_ns: 3 * step_ns / S)


# --- patterns ----------------------------------------------------------------------------------------


def test_of_entries_that_match_the_last_holds() -> None:
    links = [link(latency=constant(20.0)), link(devices="cell_1", latency=constant(50.0))]
    assert told(10, links, count=3)[-1].tolist() == [70.0, 40.0, 70.0]


def test_devices_that_no_entry_matches_are_linked_perfectly() -> None:
    assert told(10, [link(devices="cell_[12]", latency=constant(50.0))], count=3)[-1].tolist() == [80.0, 40.0, 40.0]


def test_a_port_may_have_a_link_of_its_own_and_the_older_age_is_told() -> None:
    links = [link(), {"from": "cells.soc_pu", "to": "control", "latency": constant(50.0)}]
    found = Scene(links=links).heard(10)
    assert (found["control.cells.p_kw"][-1, 0], found["control.cells.soc_pu"][-1, 0]) == (80.0, 40.0)
    assert found["control.cells.age_s"][-1, 0] == 50.0


def test_only_what_is_matched_goes_over_the_network() -> None:
    network = Scene(links=[{"from": "cells.p_kw", "to": "control"}]).network
    assert set(network.interface.inputs) == {"cells.p_kw"}
    assert set(network.interface.outputs) == {"control.cells.p_kw", "control.cells.age_s", "link_age_s"}


def test_a_fleet_is_told_with_whom_it_can_exchange_registers() -> None:
    scene = Scene(links=[{"to": "cells.reached", "every_s": 30.0}], events=[{"begins_s": 100, "lasts_s": 50}])
    reached = scene.heard(20)["cells.reached"][:, 0]
    assert np.flatnonzero(reached).tolist() == [0, 1, 4, 7, 16, 19]  # those of 90, 120 s fall into the outage
    assert not scene.network.interface.inputs


@pytest.mark.parametrize(
    ("said", "pointer", "what"),
    [
        ({"links": [link(to="contrl")]}, ("links", 0, "to"), "did you mean 'control'?"),
        ({"links": [link(), {"from": "cels"}]}, ("links", 1, "from"), "did you mean 'cells'?"),
        ({"links": [link(**{"from": "cells.p_kv"})]}, ("links", 0, "from"), "did you mean 'cells.p_kw'?"),
        ({"links": [link(devices="cell_x")]}, ("links", 0, "devices"), "did you mean 'cell_0'?"),
        ({"links": [link(**{"from": "control"})]}, ("links", 0), "did you mean 'control to cells'?"),
        ({"links": [link(), {}]}, ("links", 0), "later entries match all"),
        (
            {"links": [link()], "events": [{"begins_s": 0, "lasts_s": 1, "to": "cells"}]},
            ("events", 0, "to"),
            "there are: control",
        ),
        ({"links": [link()], "events": [{"begins_s": 31, "lasts_s": 9}]}, ("events", 0), "between two instants"),
        (
            {"links": [link()], "events": [{"begins_s": 31, "lasts_s": 9, "repeats_s": 60}]},
            ("events", 0),
            "between two instants",
        ),
        ({"links": [link(lease={"after_s": 10, "value": 0})]}, ("links", 0, "lease", "after_s"), "at once"),
        (
            {"links": [link(latency=constant(55), lease={"after_s": 60, "value": 0})]},
            ("links", 0, "lease", "after_s"),
            "nothing is heard in less than 60 s",
        ),
        ({"links": [link(latency=constant(600000))], "count": 3000}, ("links", 0, "latency"), "are too much to keep"),
    ],
)
def test_patterns_that_match_nothing_are_refused(said: dict[str, Any], pointer: tuple[object, ...], what: str) -> None:
    with pytest.raises(PlaceError) as refused:
        Scene(**said)
    assert [path for path, _ in refused.value.problems] == [pointer]
    assert what in str(refused.value)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (
            link(latency={"kind": "uniform", "least_s": 2, "most_s": 1}),
            "longest latency, 1 s, is shorter than least_s 2",
        ),
        (link(loss_pu=0.9, burst_messages=2), "needs runs of 9 messages"),
        (link(loss_pu=1.1), "less than or equal to 1"),
        (link(latency={"kind": "gamma"}), "does not match any of the expected tags"),
    ],
)
def test_links_that_cannot_be_are_refused(said: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        NetworkSettings.model_validate({"links": [said]})


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    links = [link(loss_pu=0.3, latency=SPREAD, order="newest", duplicate_pu=0.1)]
    first, same, other = (Scene(30, seed, links=links).heard(40)["control.cells.p_kw"] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
