"""The value stack of a run: what it was worth, part by part, nothing twice."""
