"""What an emulated device is built like: its models, and what it does where SunSpec leaves it open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from derloop.kind import Settings

Models = Literal["der", "legacy", "legacy-float", "all"]
Fallback = Literal["revert", "cease", "nothing"]


def _ends_as_one(name: str) -> str:
    if not name.endswith("_SF"):
        raise ValueError("must be a scale factor, as 702.W_SF is")
    return name


ScaleFactor = Annotated[str, AfterValidator(_ends_as_one)]


class Profile(Settings):
    """How one emulated device, or all of a fleet, are built."""

    models: Models = Field(
        default="der",
        description="Which SunSpec models it has. der: 1, 701 to 713 and 715; legacy: 1, 101 to 103, 120 to 124, 126, "
        "160, 802; legacy-float: 111 to 113 in the place of 101 to 103; all: these, 201 to 203 and 714 too.",
        examples=["legacy"],
    )
    heartbeat_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=86400,
        description="How long after its last change the controller's heartbeat (715 ControllerHb, 802 CtrlHb) counts "
        "as lost, s. It is watched from the first time that it is written. SunSpec leaves the time open.",
        examples=[60.0],
    )
    on_heartbeat_loss: Fallback = Field(
        default="revert",
        description="revert: every setpoint (704, 123, 124) reverts as if its time had run out; cease: no power until "
        "the heartbeat is back; nothing.",
        examples=["revert"],
    )
    v_dc_v: float = Field(
        default=800.0, gt=0, le=3000, description="The constant voltage of its DC side, V.", examples=[800.0]
    )
    scale_factors: Mapping[ScaleFactor, Annotated[int, Field(ge=-10, le=10)]] = Field(
        default_factory=dict,
        description="Scale factors that differ from those that suit its ratings, by model and point.",
        examples=[{"704.WMaxLimPct_SF": 0}],
    )

    def serves(self, model: int) -> bool:
        """Return whether devices with this profile show a model; what they hold may be more."""
        return self.models == "all" or model in _SETS[self.models]


_LEGACY: Final = frozenset({1, *range(120, 125), 126, 160, 802})
_SETS: Final[Mapping[Models, frozenset[int]]] = {
    "der": frozenset({1, *range(701, 714), 715}),
    "legacy": _LEGACY | {101, 102, 103},
    "legacy-float": _LEGACY | {111, 112, 113},
}
