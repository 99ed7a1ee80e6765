"""A microgrid's control: islands at a switch, holds the island, sheds, starts it again, and reconnects.

Powers of sources are positive when injected; at the switch, when they go into the island. All is decided from what was
measured at the last instant. The switch is that of the feeder's `island`; its relay opens at once when the grid is
lost. `mode` says in which state the microgrid is:

- 0 connected: stores are charged up to `charge_below` and discharged from `discharge_above` on, but never below
  `reserve_soc_pu`, or that of a warning; below it they are charged at any price. Without `exports` sources give no more
  than what is drawn in the island. Engines run for the price, `run_above`, or for heat.
- 1 preparing a planned island: `P_0` moves by what crosses the switch until that is less than `zero_pu`; then the
  switch opens. Where sources cannot make up for it, groups are shed.
- 2 islanded: `P_0` is shared so that the frequency comes to nominal: their sum is the power of all sources, and what
  groups that go or come now change of it. As stores fill to `top_soc_pu` the frequency is led up by `surplus_hz`:
  generation with frequency droop then holds back. Engines run at `power_pu` while less than `soc_below_pu` is stored,
  up to `soc_above_pu`, or to have groups back; and where stores alone could not carry it all.
- 3 dead: all groups are taken off, sources rest, which clears trips; after `after_s` those that can are told to run at
  `v_0`, and the groups come back by priority. With the grid there the switch closes onto the dead island instead.
- 4 synchronising: the frequency is led to the grid's and `slip_hz`, `v_0` by the difference of voltage. The switch
  closes when IEEE 1547-2018, table 5 allows it (`synchronism.py`).

Shedding (`shedding.py`). A group is off while the state of charge is below its `shed_below_soc_pu`, and comes back
`band_soc_pu` above. The next group by priority goes, in each step, while the frequency is below `below_hz` or sources
give more than `most_pu` of what they could. The next one comes back, `every_s` after the last and `rest_s` after any
went, if `demand (1 + cold_load_pu)`, and that over `pf` in kVA, is no more than what sources can carry besides.

Capacitors that it operates are out from when the island is dead, or its sources take more reactive power than a fifth
of their rating, until it is beside the grid again.

Counted (`indices.py`): energy not served, of critical loads apart, and SAIDI, SAIFI, CAIDI, ASAI and MAIFI as
IEEE 1366-2022 defines them.

What it does when it hears nothing. When the oldest of what it heard of sources and the feeder is more than
`silent_after_s` old (`age_s`, as a network tells it), it opens, closes and starts nothing: beside the grid stores rest;
in an island `P_0` is 0, so that sources share by their droop, and only critical groups stay on. A price that is older
is none, and of loads what they asked for last counts. The switch's relay needs nobody.
"""

from __future__ import annotations

from derloop.kind import Kind
from federates.control.microgrid.controller import Microgrid
from federates.control.microgrid.settings import MicrogridSettings

KIND = Kind(
    "microgrid", "Islands at a switch, sheds by priority, starts again, reconnects", MicrogridSettings, Microgrid
)
