"""How long things take, beside a floor: the bare computation, timed in turn with ours."""
