"""Instruments of a bench: AC source, DC source, power meter, over SCPI and over Modbus.

A command map (JSON, below `maps/` or the bench file's folder) says which SCPI command sets or reads what; a bench file
says which instruments there are, where, and within which limits they may be used. Voltages are line to neutral, RMS;
power that a meter shows is positive when it flows from the device into the source, as the device's own.
"""
