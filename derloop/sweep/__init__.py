"""Many runs of one scenario, over parameters or seeds: planned, run in processes, and told in one table."""
