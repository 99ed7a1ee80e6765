"""Distributed energy resources: groups of devices of one kind, and what drives them."""

from __future__ import annotations

from pydantic import Field

from derloop.kind import Context, Settings


class Stepped(Settings):
    """Settings of a federate that may have a step of its own."""

    step_s: float | None = Field(
        default=None,
        ge=1e-3,
        le=86400.0,
        description="Time from one step to the next, s. Without it, the scenario's step.",
        examples=[60.0],
    )

    def step_ns(self, context: Context) -> int:
        """Return the step, ns."""
        return context.step_ns if self.step_s is None else round(self.step_s * 1e9)
