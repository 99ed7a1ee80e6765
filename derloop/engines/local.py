"""The reference: one thread, no middleware. What the other engines must equal to the bit."""

from __future__ import annotations

import heapq

from derloop.engines.stepping import Stepper


def run(steppers: list[Stepper], until_ns: int) -> None:
    """Step the units until `until_ns`, each at its own step, within an instant by rank."""
    for stepper in steppers:
        stepper.start()
    for stepper in steppers:
        sources = {s.unit.name: s.outbox.payload for s in steppers if s.unit.name in stepper.inbox.feeds}
        stepper.inbox.attach(sources)
    due = [(0, stepper.unit.rank) for stepper in steppers]
    by_rank = {stepper.unit.rank: stepper for stepper in steppers}
    heapq.heapify(due)
    while due and due[0][0] < until_ns:
        now_ns, rank = due[0]
        by_rank[rank].step(now_ns)
        heapq.heapreplace(due, (now_ns + by_rank[rank].unit.step_ns, rank))
