"""What Hydra finds by itself: launchers and sweepers for conf/hydra/."""
