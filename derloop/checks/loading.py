"""Check `loading`: lines and transformers carry no more than their rating."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field, StringConstraints

from derloop.checks.elements import left_out, without
from derloop.checks.stays_within import Band, Sustained, judge_band, of_all
from derloop.checks.window import in_unit, read_in
from derloop.verdict import CheckKind, Recorded, Verdict

SOURCE = "rating of the element, as the feeder file has it"


class Loading(Sustained):
    """Lines and transformers carry no more than their rating."""

    signal: str = Field(
        "*.loading_pu", min_length=1, max_length=200, description="Glob of federate.port, in pu of the rating."
    )
    max_pu: float = Field(1.0, gt=0, le=100, description="Most loading, pu of the rating.", examples=[1.0, 0.8])
    ignore: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = Field(
        (), max_length=1000, description="Globs of elements that are not judged.", examples=[["transformer.sub"]]
    )


def judge(settings: Loading, recorded: Recorded) -> Verdict:
    """Return whether nothing is loaded beyond `max_pu`. Raises: NothingToJudge."""
    found = read_in(recorded, settings.signal, settings, "pu")
    judged = without(found, settings.ignore)
    verdict = judge_band(KIND.name, judged, Band(-np.inf, settings.max_pu, "pu"), settings, SOURCE)
    return replace(verdict, text=verdict.text + left_out(found, judged))


KIND = CheckKind(
    name="loading",
    summary="Lines and transformers carry no more than their rating, or a share of it.",
    settings=Loading,
    judge=judge,
    misfit=in_unit("pu"),
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=of_all,
)
