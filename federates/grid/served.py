"""Who stands at a feeder and gives or draws nothing where it is dead."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Served(Protocol):
    """Devices, or loads."""

    def serve(self, alive: NDArray[np.bool_]) -> None:
        """Stand at those of their nodes alone that are alive (nodes,), until the next call; give, or draw, there."""
        ...
