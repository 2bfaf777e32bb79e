"""Fusion heads: the modalities' vectors in, one vector out."""
