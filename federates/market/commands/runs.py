"""The folder of a run, as bills and values need it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from derloop.contract import FloatArray
from derloop.errors import DerloopError, did_you_mean
from derloop.kind import Context, PlaceError
from derloop.results.store import RunFolder
from federates.market.billing import Billing, Metered, make_billing
from federates.market.commands.services import settlement_of
from federates.market.retail import KEPT
from federates.market.schedule import Run, Schedule, make_schedule, misfit, read_real_time
from federates.market.tariff import Tariff, read_tariff


def meters(run: RunFolder) -> tuple[str, ...]:
    """Return the names of the federates that billed somebody."""
    billing = [name for name, entry in _federates(run) if entry == "tariff"]
    return tuple(name for name in billing if run.select(f"{name}.bill_without"))


def billing_of(run: RunFolder, meter: str, tariff: Path | None = None) -> Billing:
    """Return the bills that a federate of kind `tariff` stands for, or those of the same meters by another tariff.

    Raises: DerloopError for a federate that billed nobody, ScenarioError for a tariff that is wrong, Unreconciled.
    """
    if meter not in meters(run):
        raise DerloopError(f"{run.path}: no tariff {meter!r} with customers" + did_you_mean(meter, meters(run)))
    of = read_tariff(tariff) if tariff else kept_tariff(run, meter)
    found = _metered(run, meter)
    schedule = _schedule(run, of, found, meter if tariff is None else None)
    settlement = settlement_of(run, meter, _over(run, found))
    own_s = kept_tariff(run, meter).interval_s
    if settlement and settlement.enrolled.demand_response and of.interval_s != own_s:
        what = f"demand response was metered by intervals of {own_s:g} s, and it has {of.interval_s:g} s"
        raise DerloopError(f"{run.path} cannot be billed by tariff {of.name!r}: {what}")
    billing = make_billing(of, schedule, found, settlement)
    if tariff is None:
        billing.reconcile(*(run.read(f"{meter}.{port}")[1][-1] for port in ("bill", "bill_without")))
    return billing


def kept_tariff(run: RunFolder, name: str) -> Tariff:
    """Return the tariff that a federate of the run had; raises DerloopError where there is no such federate."""
    tariffs = [federate for federate, kind in _federates(run) if kind == "tariff"]
    if name not in tariffs:
        raise DerloopError(f"{run.path}: no tariff {name!r}" + did_you_mean(name, tariffs))
    return read_tariff(run.path / KEPT / f"{name}.json")


def _federates(run: RunFolder) -> Iterator[tuple[str, str]]:
    for name, entry in (run.run.get("federates") or {}).items():
        yield str(name), str(entry.get("kind", ""))


def _metered(run: RunFolder, meter: str) -> Metered:
    signal = run.signal(f"{meter}.load_kw")
    load_kw, der_kw = (run.read(f"{meter}.{port}")[1] for port in ("load_kw", "der_kw"))
    if not len(load_kw):
        raise DerloopError(f"{run.path}: {meter} recorded nothing")
    return Metered(signal.labels, signal.step_ns, load_kw, der_kw)


def _schedule(run: RunFolder, tariff: Tariff, found: Metered, told_by: str | None) -> Schedule:
    """Return the tariff over the run; market prices as the federate `told_by` told them, else from their file."""
    over = _over(run, found)
    if what := misfit(tariff, over, found.step_ns):
        raise DerloopError(f"{run.path} cannot be billed by tariff {tariff.name!r}: {what}")
    if tariff.real_time is None:
        return make_schedule(tariff, over)
    interval_ns = round(tariff.interval_s * 1e9)
    if told_by is not None:
        told: FloatArray = run.read(f"{told_by}.market_per_kwh")[1][:: interval_ns // found.step_ns, 0]
        return make_schedule(tariff, over, told)
    return make_schedule(tariff, over, _market(run, tariff, over, interval_ns))


def _over(run: RunFolder, found: Metered) -> Run:
    """Return the time that was metered."""
    return Run(_start(run), len(found.load_kw) * found.step_ns)


def _market(run: RunFolder, tariff: Tariff, over: Run, interval_ns: int) -> FloatArray:
    assert tariff.real_time is not None
    folder = Path(str(run.run.get("scenario_path", run.path))).parent
    try:
        context = Context(tariff.name, folder, over.start, interval_ns, over.until_ns, 0)
        return read_real_time(tariff.real_time, context, interval_ns)
    except (PlaceError, OSError) as error:
        raise DerloopError(f"tariff {tariff.name!r}, /real_time: {error}") from error


def _start(run: RunFolder) -> datetime:
    if run.start is None:
        raise DerloopError(f"{run.path}: its run.json does not say when it starts")
    return run.start.astimezone(run.zone)
