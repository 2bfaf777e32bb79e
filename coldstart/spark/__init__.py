"""Verbs on an Apache Spark cluster: a session, tasks spread over executors, and Spark's own ALS."""
