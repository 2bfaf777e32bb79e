"""The random generators: saved, and put back as they were."""

import random
from pathlib import Path

import numpy as np
import torch

from coldstart.data import random_state


def test_generators_are_put_back_as_they_were(tmp_path: Path) -> None:
    def draw() -> tuple[float, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(())), random.gauss()

    torch.save(random_state.states(), tmp_path / "states.pt")
    first = draw()
    random_state.restore(torch.load(tmp_path / "states.pt", weights_only=True))
    assert draw() == first
