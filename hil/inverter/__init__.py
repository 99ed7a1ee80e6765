"""A device as a distributed energy resource, whatever it speaks: found, commanded under a lease, verified, measured.

Power is positive when injected into the grid, active and reactive. A `Language` finds out what a device has; its
`Dialect` says which of that means what: SunSpec models from 701 on, older ones function by function, or what a register
map says. Any other point is read and written, and any curve adopted, by name.
"""
