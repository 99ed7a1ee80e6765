"""The commands of the market: bills of a run, its value, tariffs. They read the folders of runs."""
