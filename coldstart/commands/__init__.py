"""The verbs of the command line, one file each; those that make many runs are in `studies/`."""
