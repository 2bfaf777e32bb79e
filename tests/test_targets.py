"""Targets: each keeps the contract; what is their own is tested here."""

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from coldstart.errors import InputError
from coldstart.targets import Attributes, Target, TrackFactors
from coldstart.testing import TargetContract


def npy(values: list[float]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values, np.float32))
    return file.getvalue()


class TestAttributes(TargetContract):
    tracks = ({"mgp.npy": npy([0.1, 2.0])}, {"mgp.npy": npy([0.9, 3.0])})
    broken = ({"mgp.npy": b"damaged"}, {"mgp.npy": npy([1.0, 2.0, 3.0])})
    facts: ClassVar[Mapping[str, Any]] = {
        "names": ["joyful", "fast"],
        "mean": [0.5, 2.0],
        "std": [0.2, 0.0],
    }

    def target(self) -> Target:
        return Attributes()


class TestTrackFactors(TargetContract):
    tracks = (
        {"factors.npy": np.array([1.0, 0.0, 2.0], np.float32)},
        {"factors.npy": np.array([0.0, -3.0, 1.0], np.float32)},
    )
    facts: ClassVar[Mapping[str, Any]] = {"factors": 3, "id": "made here"}

    def target(self) -> Target:
        return TrackFactors()


def test_the_mean_of_the_attributes_costs_one_and_the_truth_nothing() -> None:
    target = Attributes()
    target.build({"names": ["joyful", "fast"], "mean": [0.5, 2.0], "std": [0.2, 0.1]})
    true = torch.tensor([[0.7, 2.1]])
    assert target.loss(torch.zeros(1, 2), true).item() == pytest.approx(1, abs=1e-5)
    assert target.loss(torch.ones(1, 2), true).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(target.output(torch.ones(1, 2)), true)


def test_other_truths_than_those_of_the_training_are_refused() -> None:
    target = Attributes()
    facts: ClassVar[Mapping[str, Any]] = {
        "names": ["joyful", "fast"],
        "mean": [0.5, 2.0],
        "std": [0.2, 0.1],
    }
    target.build(facts)
    with pytest.raises(InputError, match=r"mgp\.npy: the dataset's attributes are not the ones"):
        target.check({**facts, "names": ["fast", "joyful"]}, facts)
    factors = TrackFactors()
    factors.build({"factors": 3, "id": "a"})
    with pytest.raises(InputError, match="not those that the model was trained on"):
        factors.check({"factors": 3, "id": "b"}, {"factors": 3, "id": "a"})
