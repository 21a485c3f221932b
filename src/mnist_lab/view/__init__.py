"""The six panels of a run, live or played again. Nothing here needs torch."""
