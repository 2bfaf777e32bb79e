"""How long each step takes, compared with a floor: the bare computation, timed in turn with it."""
