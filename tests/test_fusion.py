"""Fusion heads: what they do to good and to poor modalities."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.fusion.base import FusionHead
from coldstart.fusion.concat import Concat
from coldstart.fusion.mean import MeanLateFusion
from coldstart.targets import cosine_distance

HEADS = {"Concat": Concat, "MeanLateFusion": MeanLateFusion}


def encoded(n: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(n, width, generator=generator) for name, width in (("b", 5), ("a", 4))
    }


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> FusionHead:
    torch.manual_seed(0)
    made: FusionHead = HEADS[request.param]()
    made.build({"a": 4, "b": 5}, 4)
    return made.eval()


def test_the_order_of_the_modalities_does_not_matter(head: FusionHead) -> None:
    given = encoded()
    turned = dict(reversed(given.items()))
    torch.testing.assert_close(head(given), head(turned), rtol=0, atol=0)


def test_every_parameter_learns(head: FusionHead) -> None:
    head.train()
    cosine_distance(head(encoded()), torch.randn(12, 4)).mean().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_predictions_of_single_nets_are_averaged_from_the_start() -> None:
    head = MeanLateFusion()
    head.build({"a": 4, "b": 4}, 4)
    given = {"a": torch.randn(3, 4), "b": torch.randn(3, 4)}
    expected = (F.normalize(given["a"], dim=1) + F.normalize(given["b"], dim=1)) / 2
    torch.testing.assert_close(head(given), expected)


def test_a_modality_that_knows_nothing_of_a_track_leaves_it_to_the_others() -> None:
    head = MeanLateFusion()
    head.build({"a": 4, "b": 4}, 4)
    given = {"a": torch.randn(3, 4), "b": torch.zeros(3, 4)}  # an unlearnt "missing" vector
    torch.testing.assert_close(F.normalize(head(given), dim=1), F.normalize(given["a"], dim=1))


def test_noise_loses_its_weight() -> None:
    torch.manual_seed(0)
    truth = F.normalize(torch.randn(400, 8), dim=1)
    good, noise = truth + 0.3 * torch.randn(400, 8), torch.randn(400, 8)
    head = MeanLateFusion()
    head.build({"good": 8, "noise": 8}, 8)
    optimizer = torch.optim.Adam(head.parameters())
    for _ in range(60):
        loss = cosine_distance(head({"good": good, "noise": noise}), truth).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = dict(zip(head.predict, (head.PACE * head.weight).softmax(0).tolist(), strict=True))
    assert weights["good"] > 0.8  # of 0.5 at the start
