"""Fusion heads: each keeps the contract; what they do to good and to poor modalities."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.fusion.attention import Attention
from coldstart.fusion.base import FusionHead
from coldstart.fusion.concat import Concat
from coldstart.fusion.gated import Gated
from coldstart.fusion.kernel import Kernel
from coldstart.fusion.mean import MeanLateFusion
from coldstart.fusion.shared import SharedBranch
from coldstart.targets.track_factors import cosine_distance
from coldstart.testing import FusionContract


class TestConcat(FusionContract):
    def head(self) -> FusionHead:
        return Concat(hidden=(8,))


class TestMeanLateFusion(FusionContract):
    def head(self) -> FusionHead:
        return MeanLateFusion()


class TestGated(FusionContract):
    def head(self) -> FusionHead:
        return Gated(width=8)


class TestAttention(FusionContract):
    def head(self) -> FusionHead:
        return Attention(width=8, heads=2)


class TestSharedBranch(FusionContract):
    def head(self) -> FusionHead:
        return SharedBranch(hidden=(8,))


class TestKernel(FusionContract):
    def head(self) -> FusionHead:
        return Kernel()


def everything(encoded: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones(len(vectors), dtype=torch.bool) for name, vectors in encoded.items()}


MASKING: dict[str, FusionHead] = {
    "MeanLateFusion": MeanLateFusion(),
    "Gated": Gated(width=8),
    "Attention": Attention(width=8, heads=2),
    "SharedBranch": SharedBranch(hidden=(8,)),
}


@pytest.mark.parametrize("name", MASKING)
def test_what_stands_in_the_place_of_a_missing_modality_plays_no_part(name: str) -> None:
    head = copy.deepcopy(MASKING[name])
    head.build({"a": 4, "b": 5}, 4)
    head.eval()
    encoded = {"a": torch.randn(6, 4), "b": torch.randn(6, 5)}
    present = {"a": torch.ones(6, dtype=torch.bool), "b": torch.arange(6) % 2 == 0}
    other = {**encoded, "b": torch.where(present["b"][:, None], encoded["b"], torch.randn(6, 5))}
    torch.testing.assert_close(head(other, present), head(encoded, present), rtol=0, atol=1e-6)


def test_a_shared_branch_learns_from_one_modality_at_a_time() -> None:
    torch.manual_seed(0)
    head = SharedBranch(hidden=(8,), dropout=0.0)
    head.build({"a": 4, "b": 4}, 4)
    encoded = {"a": torch.randn(1, 4).expand(200, 4), "b": torch.randn(1, 4).expand(200, 4)}
    seen = {tuple(row.tolist()) for row in head(encoded, everything(encoded)).round(decimals=4)}
    assert len(seen) == 2  # either a's result or b's, and both occur
    mean = torch.tensor(sorted(seen)).mean(0)
    result = head.eval()(encoded, everything(encoded))[0]
    torch.testing.assert_close(result, mean, atol=1e-3, rtol=0)


def test_predictions_of_single_nets_are_averaged_from_the_start() -> None:
    head = MeanLateFusion()
    head.build({"a": 4, "b": 4}, 4)
    given = {"a": torch.randn(3, 4), "b": torch.randn(3, 4)}
    expected = (F.normalize(given["a"], dim=1) + F.normalize(given["b"], dim=1)) / 2
    torch.testing.assert_close(head(given, everything(given)), expected)


def test_a_modality_that_knows_nothing_of_a_track_leaves_it_to_the_others() -> None:
    head = MeanLateFusion()
    head.build({"a": 4, "b": 4}, 4)
    given = {"a": torch.randn(3, 4), "b": torch.randn(3, 4)}
    present = {**everything(given), "b": torch.zeros(3, dtype=torch.bool)}
    torch.testing.assert_close(head(given, present), F.normalize(given["a"], dim=1))


def test_noise_loses_its_weight() -> None:
    torch.manual_seed(0)
    truth = F.normalize(torch.randn(400, 8), dim=1)
    good, noise = truth + 0.3 * torch.randn(400, 8), torch.randn(400, 8)
    head = MeanLateFusion()
    head.build({"good": 8, "noise": 8}, 8)
    optimizer = torch.optim.Adam(head.parameters())
    for _ in range(60):
        given = {"good": good, "noise": noise}
        loss = cosine_distance(head(given, everything(given)), truth).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = dict(zip(head.predict, (head.PACE * head.weight).softmax(0).tolist(), strict=True))
    assert weights["good"] > 0.8  # of 0.5 at the start
