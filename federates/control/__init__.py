"""Controls: they command other federates and have no place on the feeder."""
