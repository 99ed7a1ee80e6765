"""SunSpec: where a device keeps its points, and what their registers mean.

A *point* is one value of a *model* (a numbered block of registers). Points are named by model and path, with
list positions counted from 0: ``"704.WMaxLimPct"``, ``"705.Crv.1.Pt.0.V"`` (SunSpec's "curve 2, point 1").

The definitions are the JSON files that pysunspec2 ships (`sunspec2/models/json`); here they are compiled once
to a flat table of address, type and scale factor, since decoding through model objects costs 200 us a poll.

Source: SunSpec Device Information Model Specification (types, values that say 'not implemented', scale
factors, layout from 'SunS' to the end marker); SunSpec DER Information Model Specification for 701-714.
"""
