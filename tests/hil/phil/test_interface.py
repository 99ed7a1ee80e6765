"""A power interface over emulated instruments: a device that really answers the voltage it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import numpy as np
import pytest

from derloop.errors import Interlocked, Rejected
from hil.instruments.command_map import CommandMap, read_command_map
from hil.instruments.emulated import EmulatedInstrument
from hil.instruments.file import AcSourceSettings, DcSourceSettings, MeterSettings, TcpSocket
from hil.instruments.instrument import AcSource, DcSource, PowerMeter
from hil.instruments.scpi import ScpiInstrument
from hil.phil.interface import Instruments, Powered, PowerInterface
from hil.phil.settings import PowerSettings
from hil.phil.stability import Answer

R_OHM, NOMINAL_V = 57.6, 240.0
"""A resistor that draws 1 kW at 240 V."""


def shipped(name: str) -> CommandMap:
    return read_command_map(name, Path(__file__).parent)


class Rig:
    """An AC source, a DC source and a meter, with a resistor on phase 1 and another on phase 2."""

    def __init__(self, stack: ExitStack) -> None:
        self.ac = stack.enter_context(EmulatedInstrument(shipped("scpi-99-ac-source"), self._measure))
        self.dc = stack.enter_context(EmulatedInstrument(shipped("scpi-99-dc-source"), self._measure))
        self.meter = stack.enter_context(EmulatedInstrument(shipped("scpi-99-power-meter"), self._measure))
        self.now_s = 0.0
        self.links: list[ScpiInstrument] = []

    def _measure(self, what: str, phase: int) -> float:
        volts = self.ac.held.get(("v_ln_v", phase), 0.0) if self.ac.is_on else 0.0
        return {"p_w": -volts * volts / R_OHM, "q_var": 10.0 * phase, "v_ln_v": volts, "f_hz": 60.0}.get(what, 0.0)

    def instruments(self, **ac: Any) -> Instruments:
        given = {"v_ln_v": {"low": 0, "high": 290}, "phases": [1, 2], **ac}
        at = {"commands": "scpi-99-ac-source", "at": TcpSocket(port=self.ac.port)}
        source = AcSourceSettings.model_validate({**at, **given})
        limits = {"v_dc_v": {"low": 0, "high": 500}, "i_dc_a": {"low": 0, "high": 20}}
        dc = DcSourceSettings.model_validate(
            {"kind": "dc-source", "commands": "scpi-99-dc-source", "at": TcpSocket(port=self.dc.port), **limits}
        )
        meters = {
            f"meter-{phase}": MeterSettings(
                kind="meter", commands="scpi-99-power-meter", at=TcpSocket(port=self.meter.port), phases=(phase,)
            )
            for phase in (1, 2)
        }
        self.links = [
            ScpiInstrument(name, settings, shipped(settings.commands))
            for name, settings in {"grid-sim": source, "array": dc, **meters}.items()
        ]
        return Instruments(
            {"grid-sim": AcSource(self.links[0], source, self.clock)},
            {"array": DcSource(self.links[1], dc, self.clock)},
            {
                name: PowerMeter(link, meters[name], self.clock)
                for name, link in zip(meters, self.links[2:], strict=True)
            },
        )

    def clock(self) -> float:
        return self.now_s


@pytest.fixture
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        found = Rig(stack)
        yield found
        for link in found.links:
            link.close()


def powered(phase: int, source_pu: complex = 0.05 + 0.1j, **changes: Any) -> Powered:
    given = {
        **{"ac_source": "grid-sim", "phases": [phase], "nominal_v": NOMINAL_V, "meter": f"meter-{phase}"},
        **{"scale": 100.0, "settle_s": 0.0, **changes},
    }
    return Powered(f"inv-{phase}", PowerSettings.model_validate(given), source_pu, Answer(0.0))


Make = Callable[..., PowerInterface]


@pytest.fixture
def interface(rig: Rig) -> Make:
    def make(*devices: Powered, **ac: Any) -> PowerInterface:
        chosen = devices or (powered(1), powered(2))
        return PowerInterface(chosen, rig.instruments(**ac), 1.0, rig.clock, lambda _: None)

    return make


def test_devices_get_the_feeders_voltage_and_the_feeder_sees_what_they_draw_times_their_scale(
    rig: Rig, interface: Make
) -> None:
    power = interface()
    power.energise()
    power.apply(np.array([0.95, 1.05]))
    rig.now_s = 3.0
    seen = power.seen(np.zeros(2), np.zeros(2), np.zeros(2))
    assert rig.ac.held["v_ln_v", 1] == pytest.approx(228.0)
    assert rig.ac.held["v_ln_v", 2] == pytest.approx(252.0)
    assert seen.p_w == pytest.approx([-1e5 * 0.95**2, -1e5 * 1.05**2], rel=1e-6)
    assert seen.q_var == pytest.approx([1000.0, 2000.0])
    assert seen.at_s.tolist() == [3.0, 3.0]
    power.leave()
    assert not rig.ac.is_on


def test_nothing_is_set_where_one_of_two_sources_would_leave_its_limits(rig: Rig) -> None:
    with EmulatedInstrument(shipped("scpi-99-ac-source"), lambda *_: 0.0) as other:
        at = {"commands": "scpi-99-ac-source", "at": TcpSocket(port=other.port)}
        entry = AcSourceSettings.model_validate({**at, "v_ln_v": {"low": 0, "high": 245}, "phases": [2]})
        second = AcSource(ScpiInstrument("second", entry, shipped("scpi-99-ac-source")), entry, rig.clock)
        there = rig.instruments(phases=[1])
        devices = (powered(1), powered(2, ac_source="second"))
        sources = Instruments({**there.ac, "second": second}, there.dc, there.meters)
        power = PowerInterface(devices, sources, 1.0, rig.clock, lambda _: None)
        power.energise()
        with pytest.raises(Interlocked, match=r"'second': v_ln_v 252 is outside of 0 to 245; nothing is set"):
            power.apply(np.array([0.95, 1.05]))
        assert rig.ac.held["v_ln_v", 1] == other.held["v_ln_v", 2] == NOMINAL_V
        assert power.v_applied_pu.tolist() == [1.0, 1.0]
        power.leave()


@pytest.mark.parametrize("which", ["ac", "dc"])
def test_a_source_that_has_switched_itself_off_is_told(rig: Rig, interface: Make, which: str) -> None:
    supply = {"source": "array", "v_dc_v": 400, "i_dc_a": 10}
    power = interface(powered(1, dc=supply), powered(2))
    power.energise()
    power.apply(np.array([0.95, 1.05]))
    (rig.ac if which == "ac" else rig.dc).held["output", 1] = 0.0
    with pytest.raises(Rejected, match="output of phase 1 was set to 1 and is 0"):
        power.apply(np.array([0.95, 1.05]))
    power.leave()


def test_nothing_is_switched_on_any_more_once_somebody_has_stopped_it(rig: Rig, interface: Make) -> None:
    """While the last voltage is set: what comes next is to switch on."""
    power, said = interface(powered(1), powered(2)), list[str]()
    stopping, answer = Thread(target=power.leave), rig.ac.answer

    def heard(line: str) -> str | None:
        said.append(line)
        if line == "SOUR2:VOLT?":
            stopping.start()
            sleep(0.2)
        return answer(line)

    rig.ac.answer = heard  # type: ignore[method-assign]
    with pytest.raises(Interlocked, match="its power has been switched off"):
        power.energise()
    stopping.join()
    assert "OUTP OFF" in said
    assert "OUTP ON" not in said


def test_powers_are_filtered(rig: Rig, interface: Make) -> None:
    power = interface(powered(1, filter_s=2.0), powered(2))
    power.energise()
    power.seen(np.zeros(2), np.zeros(2), np.zeros(2))
    power.apply(np.array([0.9, 0.9]))
    rig.now_s = 1.0
    seen = power.seen(np.zeros(2), np.zeros(2), np.zeros(2))
    expected = -1e5 * (0.81 + np.exp(-0.5) * (1.0 - 0.81))
    assert seen.p_w == pytest.approx([expected, -81e3], rel=1e-6)
    power.leave()


def test_without_a_meter_the_devices_own_measurements_count(interface: Make) -> None:
    power = interface(powered(1, meter=None), powered(2))
    power.energise()
    seen = power.seen(np.array([-7.0, -7.0]), np.array([3.0, 3.0]), np.array([1.5, 1.5]))
    assert seen.p_w == pytest.approx([-700.0, -1e5], rel=1e-6)
    assert seen.at_s.tolist() == [1.5, 0.0]
    power.leave()


def test_a_loop_that_would_not_settle_is_not_energised(rig: Rig, interface: Make) -> None:
    power = interface(powered(1, 0.6 + 0.1j), powered(2))
    with pytest.raises(Interlocked, match=r"'inv-1': is not energised: the loop does not settle: gain -1.2"):
        power.energise()
    power.leave()
    assert rig.ac.held == {}


def test_the_curves_of_the_scenario_count_unless_the_bench_file_says_how_the_device_answers(interface: Make) -> None:
    def gain(curves: Answer, **answers: float) -> float:
        return interface(replace(powered(1, answers=answers), curves=curves), phases=[1]).estimates()[0].gain

    assert gain(Answer(-25.0, -7.0)) == pytest.approx(0.05 * -25 + 0.1 * -7)
    assert gain(Answer(-1.0)) == pytest.approx(0.05 * -2)
    assert gain(Answer(-25.0, -7.0), p_per_v=0.0, q_per_v=-3.0) == pytest.approx(0.1 * -3)


def test_devices_at_one_place_share_the_margin_that_one_of_them_would_have(rig: Rig, interface: Make) -> None:
    """Each draws on the other's voltage: twice -0.45 leaves no margin of two."""
    here, elsewhere = frozenset({("end", 1)}), frozenset({("end", 2)})

    def energised(*places: frozenset[tuple[str, int]]) -> PowerInterface:
        return interface(*(replace(powered(i, 0.225 + 0.1j), nodes=at) for i, at in enumerate(places, 1)))

    assert [each.gain for each in energised(here, elsewhere).estimates()] == pytest.approx([-0.45, -0.45])
    power = energised(here, here | elsewhere)
    assert [each.gain for each in power.estimates()] == pytest.approx([-0.9, -0.9])
    with pytest.raises(Interlocked, match=r"'inv-1': is not energised: the loop settles: gain -0.9.* margin 1.11"):
        power.energise()
    assert rig.ac.held == {}


def test_a_filter_lets_it_be_energised(interface: Make) -> None:
    power = interface(powered(1, 0.6 + 0.1j, filter_s=2.0), powered(2))
    assert power.cautions == ()
    power.energise()
    power.leave()


def test_a_reason_lets_it_be_energised_and_is_said_before_the_run(rig: Rig, interface: Make) -> None:
    reason = "the source is current-limited to 2 A"
    power = interface(powered(1, 0.6 + 0.1j, unstable_because=reason), powered(2))
    assert len(power.cautions) == 1
    assert power.cautions[0].startswith("device 'inv-1' is energised though the loop does not settle")
    assert power.cautions[0].endswith(f"({reason})")
    power.energise()
    assert rig.ac.is_on
    power.leave()


def test_a_volt_var_curve_counts_in_the_estimate(interface: Make) -> None:
    steep = Powered("inv-1", powered(1).settings, 0.01 + 0.2j, Answer(0.0, -7.3))
    found = interface(steep, powered(2)).estimates()[0]
    assert found.gain == pytest.approx(0.01 * -2 + 0.2 * -7.3)
    assert not found.is_stable


def test_a_voltage_out_of_range_sets_nothing_and_names_the_device(rig: Rig, interface: Make) -> None:
    power = interface()
    power.energise()
    with pytest.raises(Interlocked, match=r"'inv-2': 1.2 pu is outside of 0.85 to 1.15 pu; nothing is set"):
        power.apply(np.array([1.0, 1.2]))
    assert rig.ac.held["v_ln_v", 1] == NOMINAL_V
    power.leave()


def test_what_devices_are_given_is_told_where_a_source_is_slow(rig: Rig, interface: Make) -> None:
    power = interface(v_ln_v={"low": 0, "high": 290, "rate_per_s": 12.0})
    power.energise()
    rig.now_s = 0.5
    power.apply(np.array([0.9, 1.0]))
    assert power.v_applied_pu == pytest.approx([(240.0 - 6.0) / 240.0, 1.0])
    power.leave()


def test_the_dc_side_goes_on_first_and_off_last(rig: Rig, interface: Make) -> None:
    curve = {"source": "array", "voc_v": 400, "isc_a": 10, "vmp_v": 320, "imp_a": 9}
    power = interface(powered(1, dc=curve), powered(2))
    order: list[str] = []
    for name, instrument in (("ac", rig.ac), ("dc", rig.dc)):
        instrument.held = Noting(order, name)
    power.energise()
    power.leave()
    assert order == ["dc on", "ac on", "ac off", "dc off"]


class Noting(dict[Any, float]):
    """What is set of an instrument; notes when its output changes."""

    def __init__(self, order: list[str], name: str) -> None:
        super().__init__()
        self._order, self._name = order, name

    def __setitem__(self, key: Any, value: float) -> None:
        super().__setitem__(key, value)
        if key[0] == "output":
            self._order.append(f"{self._name} {'on' if value else 'off'}")


def test_every_instrument_is_left_off_although_one_does_not_obey(rig: Rig, interface: Make) -> None:
    curve = {"source": "array", "v_dc_v": 400, "i_dc_a": 10}
    power = interface(powered(1, dc=curve), powered(2))
    power.energise()
    rig.ac.ignores = {"output"}
    with pytest.raises(Rejected, match="grid-sim"):
        power.leave()
    assert not rig.dc.is_on


def test_a_failure_while_energising_leaves_no_output_on(rig: Rig, interface: Make) -> None:
    power = interface(powered(1, dc={"source": "array", "v_dc_v": 400, "i_dc_a": 10}), powered(2))
    rig.ac.ignores = {"v_ln_v"}
    with pytest.raises(Rejected):
        power.energise()
    power.leave()
    assert not rig.dc.is_on


def test_what_has_been_left_is_not_given_power_again(rig: Rig, interface: Make) -> None:
    power = interface()
    power.energise()
    power.leave()
    with pytest.raises(Interlocked, match="its power has been switched off"):
        power.apply(np.ones(2))
    power.leave()
    assert not rig.ac.is_on


def test_two_devices_on_one_phase_are_refused(interface: Make) -> None:
    with pytest.raises(Interlocked, match="phase 1 of 'grid-sim' belongs to 'inv-1' already"):
        interface(powered(1), powered(1))


def test_a_dc_side_is_a_voltage_or_a_curve() -> None:
    with pytest.raises(ValueError, match="give v_dc_v and i_dc_a, or voc_v"):
        powered(1, dc={"source": "array", "v_dc_v": 400, "voc_v": 400})


def test_a_source_that_is_on_already_is_refused_and_left_as_it_is(rig: Rig, interface: Make) -> None:
    """What stands at it would jump to nominal voltage; and it is not for this run to switch off."""
    rig.ac.answer("SOUR1:VOLT 277")
    rig.ac.answer("OUTP ON")
    held = dict(rig.ac.held)
    power = interface(powered(1, dc={"source": "array", "v_dc_v": 400, "i_dc_a": 10}), powered(2))
    with pytest.raises(Interlocked, match="'grid-sim': is on already, and not by this run: nothing is set"):
        power.energise()
    power.leave()
    assert rig.ac.held == held
    assert rig.dc.held == {}


def test_a_dc_source_that_is_on_already_is_refused_and_left_as_it_is(rig: Rig, interface: Make) -> None:
    """Somebody else's inverter would get another curve, and no power at the end."""
    rig.dc.answer("VOLT 300")
    rig.dc.answer("OUTP ON")
    held = dict(rig.dc.held)
    power = interface(powered(1, dc={"source": "array", "v_dc_v": 400, "i_dc_a": 10}), powered(2))
    with pytest.raises(Interlocked, match="'array': is on already, and not by this run: nothing is set"):
        power.energise()
    power.leave()
    assert rig.dc.held == held
    assert rig.dc.is_on
    assert not rig.ac.is_on


def test_a_source_may_be_on_for_other_fleets_of_the_run_which_know_before_it_is(rig: Rig, interface: Make) -> None:
    was_on = list[bool]()
    first, second = interface(powered(1), phases=[1]), interface(powered(2), phases=[2])
    first.energise(feed=lambda: was_on.append(rig.ac.is_on))
    second.energise(lambda: {"grid-sim"})
    assert was_on == [False]
    second.leave({"grid-sim"})
    assert rig.ac.is_on
    first.leave()
    assert not rig.ac.is_on
