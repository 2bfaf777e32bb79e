"""The verb `tune`: a search for a fit's settings."""
