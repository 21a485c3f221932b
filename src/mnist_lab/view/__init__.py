"""The six panels of a run, live or replayed. Only ``recorder.py``, which runs inside training, imports torch."""
