"""A distributed energy resource as a SunSpec device: a real Modbus server in front of any model.

`RegisterBank` is what the devices hold and how they answer: access, ranges, curve adoption, reversion timers.
It knows no physics and no clock: timers move when told to (`advance`), so identical runs give identical
registers.
`hil.serving.fleet.BankServer` puts every device of a bank on the wire.

Power is positive when injected into the grid, active and reactive.
"""
