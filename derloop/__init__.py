"""derloop: distributed energy resources in the loop."""
