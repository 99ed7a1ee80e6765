"""One run over many machines: who takes part, what must be alike, what is said between them."""
