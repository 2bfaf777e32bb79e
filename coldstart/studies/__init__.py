"""The verbs that make many runs, and what they have in common."""
