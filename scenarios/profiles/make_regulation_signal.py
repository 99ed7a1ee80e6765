"""Make the regulation signal: `python scenarios/profiles/make_regulation_signal.py`.

Made up, with the traits of a fast signal that is neutral in energy: what is left of band-limited noise (time constants
of 20 s and 3 min) when its mean over each 15 minutes is taken away, scaled so that it reaches +-1.
"""

from pathlib import Path

import numpy as np

STEP_S, SPAN_S = 10, 3600
ABOUT = """\
# A regulation signal of one hour: fast, neutral in energy over each 15 minutes. Positive: inject more.
# Source: none; made up, with the traits of RegD. Licence: as derloop.
# Script: scenarios/profiles/make_regulation_signal.py
# Units: time_s in s since local midnight; reg_d_pu in pu of the capacity that is offered.
time_s,reg_d_pu
"""


def signal() -> np.ndarray:
    """Return one value for each step, both ends included."""
    noise = np.random.default_rng(11).normal(size=SPAN_S // STEP_S + 1)
    fast, slow = np.zeros(noise.size), np.zeros(noise.size)
    for i in range(1, noise.size):
        fast[i] = fast[i - 1] * np.exp(-STEP_S / 20.0) + noise[i]
        slow[i] = slow[i - 1] * np.exp(-STEP_S / 180.0) + 0.4 * noise[i]
    both = (fast + slow)[:-1].reshape(-1, 900 // STEP_S)
    neutral = (both - both.mean(axis=1, keepdims=True)).ravel()
    return np.append(neutral / np.abs(neutral).max(), 0.0)


if __name__ == "__main__":
    rows = [f"{i * STEP_S},{value:.4f}" for i, value in enumerate(signal())]
    path = Path(__file__).parent / "regulation_signal.csv"
    path.write_text(ABOUT + "\n".join(rows) + "\n", encoding="utf-8", newline="\n")
