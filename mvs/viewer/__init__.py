"""Looking at results: the live viewer and the report of a run."""
