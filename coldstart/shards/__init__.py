"""The format of a dataset on disk: what it is, how it is read, written and made."""
