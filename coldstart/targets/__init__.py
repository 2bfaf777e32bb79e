"""Targets: what is predicted, and the objective. One file a target."""
