"""Commands that come in by entry points, as those of other packages do."""
