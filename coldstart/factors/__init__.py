"""The collaborative-filtering space: its format and its arithmetic."""
