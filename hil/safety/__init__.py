"""What may be done to equipment, and that it is left as it was found.

Mistakes burn hardware, so nothing is written to a device unless all of this agrees: it is armed by name, no other run
holds it, every value is within its limits and its rate, a lease lies behind every control, and its registers are not
worn. What the device held before is on disk before the first write, and is restored and verified at the end.
"""
