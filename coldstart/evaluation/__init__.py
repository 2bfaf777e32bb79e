"""What a test measures: figures, and the floors and rivals beside them."""
