"""Power hardware in the loop: a device that really draws and feeds power, between an AC source and a simulated feeder.

The interface is the ideal transformer method, quasi-static: the feeder's voltage at the terminal is what the AC source
gives the device, and the power that is measured there is what the feeder sees, one step later.

Power is positive when injected into the grid, active and reactive.
"""
