"""A series as pandas shows it, which is imported only once somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import PluginError
from derloop.results.signals import TimeArray


def frame(time_ns: TimeArray, values: Sequence[FloatArray], columns: Sequence[str], start: datetime | None) -> Any:
    """Return a DataFrame of `values`, side by side, over wall time from `start`, or else over time since the start."""
    try:
        import pandas as pd
    except ImportError as error:
        raise PluginError("a data frame needs pandas, which is not installed: pip install derloop[frames]") from error
    since = pd.to_timedelta(time_ns, unit="ns")
    time = since if start is None else pd.Timestamp(start) + since
    return pd.DataFrame(np.hstack(values), columns=list(columns), index=time.rename("time"))
