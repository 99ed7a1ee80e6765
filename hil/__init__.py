"""Equipment over wires: real inverters, and device models served as if they were."""
