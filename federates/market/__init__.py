"""The market: tariffs, what customers are billed by them, and what a run was worth."""
