"""The functions of IEEE 1547-2018 that inverter-based kinds share: one file for each, n devices at once.

Each file holds a function's settings, its numbers by category, the ranges within which they may be set, and its
equations. `settings.Smart` is what a scenario says; `federates.der.inverter.Inverters` puts the functions in their
order of priority. Voltages are pu of nominal, reactive powers pu of rated kVA, positive when injected.

Clauses are given as the public models and test scripts cite them; the standard's own text was not at hand.
"""
