"""Scenarios: from a JSON file to a federation, with every problem named by its JSON pointer."""
