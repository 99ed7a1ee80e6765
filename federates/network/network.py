r"""The communication between federates: what one says, the other hears later, out of order, twice, or never.

A network takes over the wires that its `links` match: `batteries.p_kw -> vpp."batteries.p_kw"` becomes
`batteries.p_kw -> network -> vpp`. `derloop check` shows them. What passes at the terminals of devices, between
them and the feeder, is physics, and no pattern matches it.

A *link* leads from one device, or one measurement, of a federate to another federate. All ports of the two that have
the same devices travel together: `p_kw`, `soc_pu` and so on of one battery are one message, that arrives or does not.

**Time.** With the step $h$ of the network, what is said at the instant $t$ arrives with the latency $l$ at

$$ t + h \max(1, \lceil l / h \rceil) $$

that is at the first instant at which the latency has passed, and never at the same one. So a perfect link changes
nothing for an input that sees the value `before` anyway, such as those of controls, and costs a command one step of the
network. Where that is too long, give the network a shorter `step_s`. Every instant the federates say what they hold, or
every `every_s`.

**What is drawn**, anew for each message, with `loss_pu` $p$ and `burst_messages` $b$ (without it $b = 1 / (1 - p)$):
after a message that arrived the next is lost with the probability $p / ((1 - p) b)$, after a lost one it arrives with
$1 / b$. That loses the share $p$, in runs of the mean length $b$. The latency is drawn from its distribution; on a
`bandwidth` the time for the message itself and for those still before it comes on top.

**What the receiver has** is the last message that arrived; before any has, what the source says at its start. In
`order` "kept", a message waits for those before it. Otherwise messages overtake each other: one that was overtaken is
thrown away ("newest"), or taken for news ("as-arrived"). With a `lease`, the receiver has `value` once what it heard is
as old as `after_s`: the watchdog of a device that hears no commands.

**Events** make links worse for a time. An outage (`loss_pu` 1) loses what is said or would arrive from its begin until
before its end. Less than that is drawn for each message besides the link's own losses.

**Ages.** Where the receiver has an input `<speaker>.age_s`, as controls have for those whom they hear, it is told how
long ago that was said which it has: one step over a perfect link. An age that is itself carried goes on growing.
`link_age_s` says it of every link.

**Devices over Modbus.** A fleet `via: emulator` whose links to its own devices are matched (from `<fleet>.devices`, to
`<fleet>.reached`) exchanges registers only in those steps in which a message arrives over them. In others it has
nothing to say of a device, and nothing is sent.

What is drawn depends on the scenario's seed, the federate's name and the instant alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, PlaceError
from derloop.memory import remembers
from federates.fleets import Problems
from federates.network.links import Link, NetworkSettings
from federates.network.receivers import Receivers
from federates.network.routes import PLAIN, Indices, Routes, signals_of
from federates.network.traffic import COUNTED, Traffic, ceiling, slots_of

LINK_AGE = "link_age_s"
MOST_KEPT = 250_000_000
"""Numbers of what is on its way: 2 GB. For each step, the values that were said, and two for each link."""


@remembers("_now_ns")
class Network:
    """N links. State: the traffic on them."""

    def __init__(self, settings: NetworkSettings, context: Context) -> None:
        self._settings, self._step_ns = settings, settings.step_ns(context)
        routes = self._routes = Routes(settings, signals_of(context))
        _check_leases(settings, self._step_ns / 1e9)
        _check_events(settings, self._step_ns)
        _check_size(settings, routes, self._step_ns / 1e9)
        links = (*settings.links, PLAIN)
        events = tuple(zip(settings.events, routes.of_events, strict=True))
        ways = routes.entries, routes.link_of, routes.through
        self._traffic = Traffic(links, *ways, events, self._step_ns, context.seed)
        self._receivers = Receivers(links, routes, context.interfaces, {target for _, target in context.signals})
        _check_silences(settings, routes, self._receivers.ages, self._step_ns / 1e9, context)
        inputs = {signal.source: Port(signal.unit, signal.said, "before") for signal in routes.signals}
        outputs = self._receivers.ports | {LINK_AGE: Port("s", routes.names)}
        self._interface = Interface(self._step_ns, inputs, outputs)
        self._now_ns: int | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        """Return nothing yet: what federates say at their start is heard at the first step."""
        return {name: np.zeros(port.size) for name, port in self._interface.outputs.items()}

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Carry what was said before `now_ns`; called again for an instant, do nothing: the inputs are the same."""
        if self._now_ns is None:
            self._traffic.begin(self._values(inputs))
        elif now_ns != self._now_ns:
            self._traffic.pass_on(now_ns // self._step_ns, self._values(inputs))
        self._now_ns = now_ns
        traffic = self._traffic
        heard = self._receivers.outputs(traffic.held, traffic.age_s, traffic.arrived)
        return heard | {LINK_AGE: traffic.age_s}

    def stop(self) -> None:
        pass

    def statistics(self) -> Mapping[str, float]:
        """Return how many messages were sent, came twice, were lost, arrived, and arrived after a later one.

        Of all links; and of those for which each entry of `links` holds, where there are several, what is not 0.
        """
        counts, links = self._traffic.counts, self._settings.links
        found = {name: float(counts[name].sum()) for name in COUNTED}
        for index, link in enumerate(links if len(links) > 1 else ()):
            mine = self._routes.entries == index
            of_entry = {name: float(counts[name][mine].sum()) for name in COUNTED}
            found |= {f"{link.source} to {link.target}, {index}: {name}": n for name, n in of_entry.items() if n}
        return found

    def _values(self, inputs: Values) -> FloatArray:
        """Return all that was said, one signal after the other (V,)."""
        return np.concatenate([np.zeros(0), *(inputs[signal.source] for signal in self._routes.signals)])


def _check_leases(settings: NetworkSettings, step_s: float) -> None:
    """Raise PlaceError with the leases that end whatever is heard as soon as it is heard."""
    problems = []
    for i, link in enumerate(settings.links):
        least_s = _least_s(link, step_s)
        if link.lease is not None and link.lease.after_s <= least_s:
            what = f"nothing is heard in less than {least_s:g} s, in steps of the network, {step_s:g} s"
            problems.append((("links", i, "lease", "after_s"), f"ends all that is heard at once, as {what}"))
    if problems:
        raise PlaceError([*problems])


def _check_silences(
    settings: NetworkSettings, routes: Routes, ages: Mapping[str, Indices], step_s: float, context: Context
) -> None:
    """Raise PlaceError with who takes for silent whoever is heard over a link, however well it works.

    Settings tell with `silent_s` from which age on, for the step of their federate.
    """
    least_s = np.array([_least_s(link, step_s) for link in (*settings.links, PLAIN)])
    problems: Problems = []
    for target, links in ages.items():
        listener, _, age = target.partition(".")
        after_s = _silent_s(listener, context)
        entry = max(np.unique(routes.entries[links]), key=lambda entry: least_s[entry])
        if after_s < least_s[entry]:
            speaker, heard = age.partition(".")[0], f"in less than {least_s[entry]:g} s, in steps of {step_s:g} s"
            silent = f"always silent, as what is older than {after_s:g} s is (silent_after_s)"
            what = f"{listener!r} does not hear {speaker!r} {heard}: {silent}"
            problems.append((("links", int(entry)) if entry < len(settings.links) else ("links",), what))
    if problems:
        raise PlaceError(problems)


def _silent_s(listener: str, context: Context) -> float:
    """Return the age from which on a federate takes for silent whom it heard, s; without end where it does not tell."""
    silent_s = getattr(context.settings.get(listener), "silent_s", None)
    return np.inf if silent_s is None else float(silent_s(context.interfaces[listener].step_ns))


def _least_s(link: Link, step_s: float) -> float:
    """Return the least age of what arrives over a link, s."""
    return step_s * max(1, int(ceiling(link.shortest_s, step_s)))


def _check_events(settings: NetworkSettings, step_ns: int) -> None:
    """Raise PlaceError with the events that fall between two instants, each time, and so do nothing."""
    problems = []
    for i, event in enumerate(settings.events):
        times_s = event.begins_s, event.lasts_s, event.repeats_s or 0.0
        begins_ns, lasts_ns, repeats_ns = (round(time_s * 1e9) for time_s in times_s)
        if repeats_ns % step_ns == 0 and -begins_ns % step_ns >= lasts_ns:
            what = f"falls between two instants of the network, whose step is {step_ns / 1e9:g} s: it does nothing"
            problems.append((("events", i), what))
    if problems:
        raise PlaceError([*problems])


def _check_size(settings: NetworkSettings, routes: Routes, step_s: float) -> None:
    slots, each = slots_of(settings.links, settings.events, step_s), routes.link_of.size + 2 * routes.count
    if slots * each > MOST_KEPT:
        longest = max(range(len(settings.links)), key=lambda index: settings.links[index].longest_s)
        what = f"{slots} steps of {step_s:g} s on the way, with {each} numbers each, are too much to keep"
        raise PlaceError([(("links", longest, "latency"), f"{what}: at most {MOST_KEPT}")])


KIND = Kind(
    "network",
    "The communication between federates: latency, loss, order, bandwidth, outages",
    NetworkSettings,
    Network,
    carries=True,
)
