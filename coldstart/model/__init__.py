"""The net, what it predicts for each track, and why."""
