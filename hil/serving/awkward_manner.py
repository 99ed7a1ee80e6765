"""Answers that come late, in pieces, between garbage, or in another's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from hil.modbus.framing import Frame, Framing
from hil.serving.chance import Chance
from hil.serving.count import Count
from hil.serving.exchanges import Plain
from hil.serving.outbox import Delivery
from hil.serving.quirks import Late, Quirks
from hil.serving.responder import Responder


class Fate(NamedTuple):
    """What decides how the answers of one device are carried."""

    quirks: Quirks
    chance: Chance
    requests: Count
    """Counted by the device's responder."""


class Awkward:
    """The manner of one connection on which some units, or all, have quirks."""

    def __init__(self, responder: Responder, framing: Framing, fates: Mapping[int, Fate]) -> None:
        """fates: by unit; units without one answer plainly."""
        self._responder, self._framing, self._fates = responder, framing, fates
        self._plain = Plain(responder, framing)
        self._held: list[Delivery] = []

    def deliveries(self, request: Frame) -> Iterable[Delivery]:
        fate = self._fates.get(request.unit)
        if fate is None:
            return self._plain.deliveries(request)
        answer = self._responder.respond(request.unit, request.pdu)
        deliveries = [] if answer is None else self._carried(request, answer, fate)
        return self._in_turn(deliveries, fate)

    def _carried(self, request: Frame, answer: bytes, fate: Fate) -> list[Delivery]:
        quirks, number = fate.quirks, fate.requests.number
        data = self._framing.pack(_addressed(request, answer, fate))
        if quirks.garbage and fate.chance.meets(quirks.garbage.share, "garbage", number):
            noise = fate.chance.bytes("noise", number, quirks.garbage.bytes)
            data = noise if quirks.garbage.replaces else noise + data
        after_s = fate.chance.latency_s(quirks.latency, number) if quirks.latency else 0.0
        if quirks.split is None:
            return [Delivery(data, after_s)]
        pause_s = quirks.split.pause_ms / 1000
        return [Delivery(p, pause_s if i else after_s) for i, p in enumerate(_pieces(data, quirks.split.pieces))]

    def _in_turn(self, answer: list[Delivery], fate: Fate) -> list[Delivery]:
        """Return what leaves now: what was held back has its turn with the next answer."""
        held, self._held = self._held, []
        late = fate.quirks.late
        if late is None or not answer:
            return [*held, *answer]
        if not fate.chance.meets(late.share, "late", fate.requests.number):
            return [*answer, *held] if late.arrives == "after-next" else [*held, *answer]
        if late.arrives == "later":
            return [*held, _delayed(answer[0], late), *answer[1:]]
        self._held = answer
        return held


def _delayed(delivery: Delivery, late: Late) -> Delivery:
    return delivery._replace(after_s=delivery.after_s + late.delay_ms / 1000)


def _addressed(request: Frame, answer: bytes, fate: Fate) -> Frame:
    """Return the answer's frame, under another unit or transaction where that goes wrong."""
    unit, number = request.unit, fate.requests.number
    if fate.chance.meets(fate.quirks.wrong_unit, "unit", number):
        unit = unit % 247 + 1
    transaction = request.transaction
    if fate.chance.meets(fate.quirks.wrong_transaction, "transaction", number):
        transaction = (transaction - 1) & 0xFFFF
    return Frame(unit, answer, transaction)


def _pieces(data: bytes, count: int) -> list[bytes]:
    """Return `data` in so many pieces, or bytes, if it has no more."""
    count = min(count, len(data))
    edges = [len(data) * i // count for i in range(count + 1)]
    return [data[a:b] for a, b in pairwise(edges)]
