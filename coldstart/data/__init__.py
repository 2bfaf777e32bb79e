"""From shards and factors to batches."""
