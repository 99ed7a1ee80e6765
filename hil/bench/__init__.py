"""What the lab has: bench files, what is found behind them, and the federate that puts it in a scenario."""
