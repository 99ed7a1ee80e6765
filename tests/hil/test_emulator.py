"""The emulated device: what its registers accept, and how they behave in simulated time."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from emulated import described
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP
from sunspec2.modbus.modbus import ModbusClientException

from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings, scale_for
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Tcp
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer
from hil.serving.listener import CannotListen
from hil.sunspec.codec import encode
from hil.sunspec.errors import SunSpecValueError


def _write(bank: RegisterBank, device: int, **values: float | str) -> Refusal | None:
    """Write points one after the other (`_` for `.`, model first) until one is refused."""
    for key, value in values.items():
        point = bank.maps[device][key.removeprefix("m").replace("_", ".")]
        if (refusal := bank.write(device, point.address, encode(point, value).registers)) is not None:
            return refusal
    return None


def _value(bank: RegisterBank, device: int, name: str) -> object:
    return bank.maps[device].value(name, bank.image(device))


@pytest.fixture
def independent(emulator: BankServer) -> Iterator[SunSpecModbusClientDeviceTCP]:
    """pysunspec2's own client: another implementation of everything from the socket to the model."""
    client = SunSpecModbusClientDeviceTCP(ipaddr="127.0.0.1", ipport=emulator.addresses[0].endpoint.port, timeout=10)
    try:
        client.scan()
        client.connect()
        yield client
    finally:
        client.close()
        client.disconnect()


def test_an_independent_client_finds_every_model(independent: SunSpecModbusClientDeviceTCP) -> None:
    assert [k for k in independent.models if isinstance(k, int)] == [1, *range(701, 713)]
    assert not any(model.error_info for model in independent.model_list)
    assert independent.common[0].SN.value == "pv_1"
    assert independent.DERCapacity[0].WMaxRtg.cvalue == 10000.0


def test_an_independent_client_reads_measurements(
    emulator: BankServer, independent: SunSpecModbusClientDeviceTCP
) -> None:
    emulator.bank.set_measurements(
        Measurements.of(np.array([7500.0, 0.0]), np.array([-1200.0, 0.0]), np.array([240.5, 120.0]), f_hz=59.95)
    )
    measured = independent.DERMeasureAC[0]
    measured.read()
    assert (measured.W.cvalue, measured.Var.cvalue, measured.Hz.cvalue) == (7500.0, -1200.0, pytest.approx(59.95))
    assert measured.LNV.cvalue == pytest.approx(240.5)
    assert measured.LLV.cvalue == pytest.approx(240.5 * math.sqrt(3), abs=0.01)
    assert measured.TmpCab.cvalue is None


def test_an_independent_client_limits_active_power(
    emulator: BankServer, independent: SunSpecModbusClientDeviceTCP
) -> None:
    controls = independent.DERCtlAC[0]
    controls.WMaxLimPct.cvalue, controls.WMaxLimPctEna.value = 66.5, 1
    controls.write()
    assert emulator.bank.settings().limit_fraction.tolist() == [0.665, 1.0]


def test_an_independent_client_has_a_curve_adopted(
    emulator: BankServer, independent: SunSpecModbusClientDeviceTCP
) -> None:
    volt_var = independent.DERVoltVar[0]
    curve = volt_var.Crv[1]
    for index, (v_pct, q_pct) in enumerate([(90, 30), (97, 0), (103, 0), (110, -30)]):
        curve.Pt[index].V.cvalue, curve.Pt[index].Var.cvalue = v_pct, q_pct
    curve.write()
    volt_var.AdptCrvReq.value = 2
    volt_var.write()
    results = []
    for _ in range(3):
        volt_var.AdptCrvRslt.read()
        results.append(volt_var.AdptCrvRslt.value)
    assert results == [0, 1, 1]
    volt_var.Ena.value = 1
    volt_var.write()
    settings = emulator.bank.settings()
    assert settings.volt_var_on.tolist() == [True, False]
    assert settings.volt_var_v_pu[0].tolist() == [0.9, 0.97, 1.03, 1.1, 1.1, 1.1, 1.1, 1.1]
    assert settings.volt_var_q_var[0] == pytest.approx([3300.0, 0.0, 0.0, -3300.0] + [-3300.0] * 4)


def test_an_independent_client_may_not_write_what_is_read_only(
    independent: SunSpecModbusClientDeviceTCP,
) -> None:
    rating = independent.DERCapacity[0].WMaxRtg
    rating.value = 1
    with pytest.raises(ModbusClientException, match="exception: 2"):
        rating.write()


@pytest.mark.parametrize(
    ("point", "refusal"),
    [
        ({"m702_WMaxRtg": 1.0}, Refusal.ADDRESS),
        ({"m701_W": 1.0}, Refusal.ADDRESS),
        ({"m705_Crv_0_ActPt": 4}, Refusal.ADDRESS),
        ({"m704_WRmp": 3}, Refusal.ADDRESS),
        ({"m704_WMaxLimPct": 100.01}, Refusal.VALUE),
        ({"m704_WSet": -1.0}, Refusal.VALUE),
        ({"m704_WSet": 10001.0}, Refusal.VALUE),
        ({"m704_VarSet": -4841.0}, Refusal.VALUE),
        ({"m704_PFWInj_PF": 1.1}, Refusal.VALUE),
        ({"m704_VarSetMod": "VAR_AVAIL_PCT"}, Refusal.VALUE),
        ({"m702_WMax": 10001.0}, Refusal.VALUE),
        ({"m705_AdptCrvReq": 4}, Refusal.VALUE),
        ({"m705_AdptCrvReq": 0}, Refusal.VALUE),
        ({"m705_Crv_1_ActPt": 9}, Refusal.VALUE),
    ],
    ids=str,
)
def test_what_may_not_be_written_is_refused_and_nothing_changes(
    bank: RegisterBank, point: dict[str, float | str], refusal: Refusal
) -> None:
    before = bank.image(0)
    assert _write(bank, 0, **point) is refusal
    assert bank.image(0).tolist() == before.tolist()


def test_an_unknown_symbol_is_refused(bank: RegisterBank) -> None:
    assert bank.write(0, bank.maps[0]["704.WMaxLimPctEna"].address, [2]) is Refusal.VALUE


def test_not_implemented_is_no_value_to_write(bank: RegisterBank) -> None:
    assert bank.write(0, bank.maps[0]["704.WMaxLimPct"].address, [0xFFFF]) is Refusal.VALUE


def test_half_a_point_is_refused(bank: RegisterBank) -> None:
    time = bank.maps[0]["704.WMaxLimPctRvrtTms"].address
    assert bank.write(0, time, [0]) is Refusal.ADDRESS
    assert bank.write(0, time + 1, [30]) is Refusal.ADDRESS


def test_a_write_of_several_points_is_all_or_nothing(bank: RegisterBank) -> None:
    enable, before = bank.maps[0]["704.WMaxLimPctEna"].address, bank.image(0)
    assert bank.write(0, enable, [1, 20000]) is Refusal.VALUE
    assert bank.image(0).tolist() == before.tolist()


def test_registers_outside_of_the_map_are_refused(bank: RegisterBank) -> None:
    end = bank.maps[0].end
    assert bank.read(0, 39999, 1) is Refusal.ADDRESS
    assert bank.read(0, end - 1, 2) is Refusal.ADDRESS
    assert bank.read(0, end - 2, 2) == [0xFFFF, 0]


def test_a_limit_reverts_when_its_simulated_time_has_passed(bank: RegisterBank) -> None:
    _write(bank, 0, m704_WMaxLimPctRvrtTms=60, m704_WMaxLimPct=40.0, m704_WMaxLimPctEna=1)
    bank.advance(59.5)
    assert bank.settings().limit_fraction[0] == 0.4
    assert _value(bank, 0, "704.WMaxLimPctRvrtRem") == 1
    bank.advance(0.5)
    assert bank.settings().limit_fraction[0] == 1.0
    assert [_value(bank, 0, f"704.WMaxLimPct{s}") for s in ("Ena", "", "RvrtRem")] == [0, 100.0, 0]


def test_a_limit_reverts_to_what_it_was_told(bank: RegisterBank) -> None:
    _write(bank, 0, m704_WMaxLimPctRvrt=20.0, m704_WMaxLimPctEnaRvrt=1)
    _write(bank, 0, m704_WMaxLimPctRvrtTms=10, m704_WMaxLimPct=40.0, m704_WMaxLimPctEna=1)
    bank.advance(10.0)
    assert bank.settings().limit_fraction[0] == 0.2


def test_reversion_time_counts_only_while_the_function_is_enabled(bank: RegisterBank) -> None:
    _write(bank, 0, m704_WMaxLimPctRvrtTms=10, m704_WMaxLimPct=40.0)
    bank.advance(100.0)
    _write(bank, 0, m704_WMaxLimPctEna=1)
    bank.advance(9.0)
    assert bank.settings().limit_fraction[0] == 0.4


def test_a_command_repeated_starts_its_reversion_time_again(bank: RegisterBank) -> None:
    _write(bank, 0, m704_WSetRvrtTms=10, m704_WSet=5000.0, m704_WSetEna=1)
    for _ in range(5):
        bank.advance(8.0)
        _write(bank, 0, m704_WSetEna=1)
    assert bank.settings().p_w[0] == 5000.0
    bank.advance(10.0)
    assert math.isnan(bank.settings().p_w[0])


def test_reversion_is_exact_however_time_is_cut(bank: RegisterBank) -> None:
    _write(bank, 0, m704_WMaxLimPctRvrtTms=1, m704_WMaxLimPct=40.0, m704_WMaxLimPctEna=1)
    for _ in range(9):
        bank.advance(0.1)
    assert bank.settings().limit_fraction[0] == 0.4
    bank.advance(0.1)
    assert bank.settings().limit_fraction[0] == 1.0


def test_a_volt_var_curve_reverts_to_the_one_named(bank: RegisterBank) -> None:
    _write(bank, 0, m705_Crv_2_RspTms=9.0, m705_RvrtCrv=3, m705_RvrtTms=30, m705_Ena=1)
    bank.advance(30.0)
    assert bank.settings().volt_var_response_s.tolist() == [9.0, 5.0]
    assert bank.settings().volt_var_on[0]


def test_volt_var_ends_if_no_curve_is_named_for_reversion(bank: RegisterBank) -> None:
    _write(bank, 0, m705_RvrtTms=30, m705_Ena=1)
    bank.advance(30.0)
    assert not bank.settings().volt_var_on[0]


def test_volt_var_ends_if_the_curve_to_revert_to_cannot_be_followed(bank: RegisterBank) -> None:
    """It went on for ever with the curve that was not commanded any more."""
    _write(bank, 0, m705_Crv_2_Pt_0_V=110.0, m705_RvrtCrv=3, m705_RvrtTms=30, m705_Ena=1)
    bank.advance(30.0)
    assert _value(bank, 0, "705.AdptCrvRslt") == 2
    assert not bank.settings().volt_var_on[0]


def test_a_setpoint_at_a_maximum_is_taken_where_its_steps_are_coarser() -> None:
    """33,337 W stand in 702 as they are, and in steps of 10 W in 704; 14,668 var likewise."""
    ratings = Ratings("bat", 33_337.0, 33_337.0, 14_668.0, 14_668.0, 240.0, p_max_charge_w=33_337.0, energy_wh=1e5)
    bank = RegisterBank([described(ratings)])
    assert [bank.number(0, f"702.{name}") for name in ("WMax", "VarMaxInj")] == [33_337, 14_668]
    for sign in (1, -1):
        assert _write(bank, 0, m704_WSet=sign * 33_337.0, m704_VarSet=sign * 14_668.0) is None
        assert [bank.number(0, f"704.{name}") for name in ("WSet", "VarSet")] == [sign * 33_340, sign * 14_670]
        assert _write(bank, 0, m704_WSet=sign * 33_350.0) is Refusal.VALUE
        assert _write(bank, 0, m704_VarSet=sign * 14_680.0) is Refusal.VALUE


def test_a_falling_curve_is_not_adopted(bank: RegisterBank) -> None:
    _write(bank, 0, m705_Crv_1_Pt_0_V=99.0, m705_AdptCrvReq=2)
    bank.advance(1.0)
    assert _value(bank, 0, "705.AdptCrvRslt") == 2
    assert bank.settings().volt_var_v_pu[0, 0] == 0.92


def test_a_curve_whose_vars_rise_with_the_voltage_is_not_adopted(bank: RegisterBank) -> None:
    before = bank.settings().volt_var_q_var.tolist()
    _write(bank, 0, m705_Crv_1_Pt_0_Var=-40.0, m705_Crv_1_Pt_3_Var=40.0, m705_AdptCrvReq=2)
    bank.advance(1.0)
    assert _value(bank, 0, "705.AdptCrvRslt") == 2
    assert bank.settings().volt_var_q_var.tolist() == before


@pytest.mark.parametrize(("var_pct", "result"), [(44.0, 1), (-44.0, 2)])
def test_a_curve_with_two_powers_at_one_voltage_is_not_adopted(bank: RegisterBank, var_pct: float, result: int) -> None:
    """Its step was passed over: full injection was held at every voltage above it."""
    levels = {0: 44.0, 1: var_pct, 2: -44.0, 3: -44.0}
    _write(bank, 0, **{f"m705_Crv_1_Pt_{i}_Var": pct for i, pct in levels.items()})
    _write(bank, 0, m705_Crv_1_Pt_0_V=95.0, m705_Crv_1_Pt_1_V=95.0, m705_AdptCrvReq=2)
    bank.advance(1.0)
    assert _value(bank, 0, "705.AdptCrvRslt") == result


def test_a_second_curve_is_refused_while_one_is_being_adopted(bank: RegisterBank) -> None:
    assert _write(bank, 0, m705_AdptCrvReq=2) is None
    assert _write(bank, 0, m705_AdptCrvReq=3) is Refusal.BUSY
    bank.advance(1.0)
    assert _write(bank, 0, m705_AdptCrvReq=3) is None


def test_a_curve_that_is_being_adopted_is_adopted_as_it_was_asked_for(bank: RegisterBank) -> None:
    """Another client's write went into it, and the first was told that its own was adopted."""
    _write(bank, 0, m705_Crv_1_RspTms=7.0, m705_AdptCrvReq=2)
    assert _write(bank, 0, m705_Crv_1_RspTms=9.0) is Refusal.BUSY
    assert _write(bank, 0, m705_Crv_2_RspTms=9.0) is None
    assert _write(bank, 1, m705_Crv_1_RspTms=9.0) is None
    bank.advance(1.0)
    assert _value(bank, 0, "705.Crv.0.RspTms") == 7.0
    assert _write(bank, 0, m705_Crv_1_RspTms=9.0) is None


def test_settings_say_what_the_registers_do(bank: RegisterBank) -> None:
    _write(bank, 1, m704_WSet=-3000.0, m704_WSetEna=1, m703_ES=0)
    _write(bank, 1, m704_VarSetMod="VAR_MAX_PCT", m704_VarSetPct=-50.0, m704_VarSetEna=1)
    _write(bank, 0, m704_PFWInj_PF=0.95, m704_PFWInj_Ext="UNDER_EXCITED", m704_PFWInjEna=1, m702_WMax=8000.0)
    settings = bank.settings()
    assert settings.in_service.tolist() == [True, False]
    assert settings.p_max_w.tolist() == [8000.0, 5000.0]
    assert np.array_equal(settings.p_w, [math.nan, -3000.0], equal_nan=True)
    assert np.array_equal(settings.q_var, [math.nan, -1000.0], equal_nan=True)
    assert np.array_equal(settings.pf, [0.95, math.nan], equal_nan=True)
    assert settings.pf_injects.tolist() == [False, False]


def test_a_measurement_that_does_not_fit_its_register_is_refused(bank: RegisterBank) -> None:
    with pytest.raises(SunSpecValueError, match=r"701\.W.*device 0"):
        bank.set_measurements(Measurements.of(np.array([1e6, 0.0]), np.zeros(2), np.full(2, 240.0)))


@pytest.mark.parametrize(("most", "exponent"), [(32000.0, 0), (32001.0, 1), (3000.0, -1), (2.5e6, 2), (0.0, 0)])
def test_scale_factors_use_a_register_fully(most: float, exponent: int) -> None:
    assert scale_for(most) == exponent


def test_ports_are_free_ones_on_the_loopback_interface_only(emulator: BankServer) -> None:
    listening = [c for c in psutil.Process().net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    ports = {each.endpoint.port for each in emulator.addresses}
    assert {c.laddr.ip for c in listening if c.laddr.port in ports} == {"127.0.0.1"}
    assert len(ports) == 2


def test_stopping_twice_or_before_starting_is_harmless(bank: RegisterBank) -> None:
    server = BankServer(bank)
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_a_server_that_cannot_listen_leaves_nothing_open(bank: RegisterBank) -> None:
    server = BankServer(bank, entry=FleetEntry(listen=Tcp(host="192.0.2.1", port=0)))
    with pytest.raises(CannotListen, match=r"cannot listen at 192\.0\.2\.1:0: Cannot assign requested address"):
        server.start()


def test_devices_with_long_names_have_serial_numbers_of_their_own() -> None:
    kinds = ("rooftops", "batteries", "a")
    names = [f"{kind}_of_the_north_western_quarter_{i}" for kind in kinds for i in (1, 12)]
    bank = RegisterBank([described(Ratings(name, 10e3, 11e3, 4840.0, 4840.0, 240.0)) for name in names])
    found = [str(_value(bank, i, "1.SN")) for i in range(6)]
    assert len({*found}) == 6
    assert [len(serial) for serial in found] == [32, 32, 32, 32, 32, 32]
    assert [serial[-25:] for serial in found] == [name[-25:] for name in names]
    assert found[4] == names[4]


def test_batteries_have_storage_and_others_do_not(ratings: tuple[Ratings, ...]) -> None:
    assert [713 in described(each) for each in ratings] == [False, True]


def test_connections_that_are_just_being_accepted_are_closed_with_the_others(bank: RegisterBank) -> None:
    for _ in range(20):
        with BankServer(bank) as server, contextlib.ExitStack() as stack:
            for address in server.addresses * 3:
                stack.enter_context(socket.create_connection((address.endpoint.host, address.endpoint.port)))
            server.stop()
            established = [c for c in psutil.Process().net_connections(kind="tcp") if c.laddr.port in _ports(server)]
            assert established == []


def _ports(server: BankServer) -> set[int]:
    return {address.endpoint.port for address in server.addresses}


def test_the_adopted_curve_stays_read_only(bank: RegisterBank) -> None:
    _write(bank, 0, m705_AdptCrvReq=2)
    bank.advance(1.0)
    assert _value(bank, 0, "705.AdptCrvRslt") == 1
    assert _write(bank, 0, m705_Crv_0_ActPt=4) is Refusal.ADDRESS


def test_a_block_may_pass_over_points_that_stay_not_implemented(bank: RegisterBank) -> None:
    ramp = bank.maps[0]["704.WRmp"].address
    assert bank.write(0, ramp, [0xFFFF, 0xFFFF]) is None


@pytest.mark.parametrize("name", ["702.AMax", "701.TmpAmb"])
def test_a_point_that_is_not_implemented_stays_so_also_where_its_scale_factor_is_not_either(
    bank: RegisterBank, name: str
) -> None:
    point = bank.maps[0][name]
    assert point.exponent is None
    assert bank.write(0, point.address, [100]) is Refusal.ADDRESS
    assert bank.read(0, point.address, 1) == [point.absent]


@pytest.mark.parametrize("function", [1, 2, 4, 5, 15, 22])
def test_functions_that_sunspec_does_not_use_are_refused(emulator: BankServer, function: int) -> None:
    before = emulator.bank.image(0)
    bodies = {5: b"\x9c\x40\xff\x00", 15: b"\x9c\x40\x00\x08\x01\xff", 22: b"\x9c\x40\x00\x00\x00\x00"}
    body = bytes([1, function]) + bodies.get(function, b"\x9c\x40\x00\x08")
    address = emulator.addresses[0]
    with socket.create_connection((address.endpoint.host, address.endpoint.port), timeout=20) as connection:
        connection.sendall(struct.pack(">HHH", 1, 0, len(body)) + body)
        assert connection.recv(100)[7:] == bytes([0x80 | function, 1])
    assert emulator.bank.image(0).tolist() == before.tolist()


def test_a_part_of_the_timing_leaves_the_rest_as_it_is_without() -> None:
    """Ten seconds and four attempts became two and two for who said only how long a busy device is left alone."""
    timing = FleetEntry.model_validate({"timing": {"busy_pause_s": 0.01}}).timing
    assert (timing.busy_pause_s, timing.deadline_s, timing.attempts) == (0.01, 10.0, 4)
    assert FleetEntry().timing == timing.model_copy(update={"busy_pause_s": 0.05})
