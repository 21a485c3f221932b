"""What a run leaves in its directory, and the life of a run."""
