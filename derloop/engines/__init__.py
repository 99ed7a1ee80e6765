"""Three movers of one federation: local (the reference), HELICS (the default) and mosaik."""
