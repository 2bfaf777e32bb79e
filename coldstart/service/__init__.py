"""A run behind HTTP: loaded once, changed without a gap, with limits for strangers; and a page."""
