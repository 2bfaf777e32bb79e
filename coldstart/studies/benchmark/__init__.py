"""The verb `benchmark`: models and rivals over several splits."""
