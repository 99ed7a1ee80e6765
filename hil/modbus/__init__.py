"""Modbus: PDUs, frames, where a device is, and the links over which it is reached.

`pdu` and `framing` are pure and serve both sides: the links of `link`, the emulator's servers, the journal of frames.
"""
