"""A fitted model on disk: a run's folder, or a folder to be shared."""
