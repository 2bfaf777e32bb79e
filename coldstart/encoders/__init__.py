"""Encoders: one modality in, one vector a track out. One file a modality."""
