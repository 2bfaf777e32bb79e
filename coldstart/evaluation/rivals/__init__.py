"""Floors that need no content and rivals that read it; their figures stand beside the model's."""
