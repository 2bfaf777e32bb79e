"""Extractors: sound → a vector a window and a track, and named tags; one file a method."""
