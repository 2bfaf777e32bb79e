"""What a fit will need, said before it begins; the refusals are in test_lightning_cli.py."""

import pytest
from helpers import Fitted
from torch import nn

from coldstart.model.checkpoint import best_checkpoint
from coldstart.model.net import Net, load
from coldstart.training.inputs import _say_once, warn_of_size


def test_a_large_net_on_a_cpu_is_said_once(
    mgp_genres: Fitted, caplog: pytest.LogCaptureFixture
) -> None:
    _say_once.cache_clear()
    net = load(best_checkpoint(mgp_genres.run), Net)
    warn_of_size(net)
    assert not caplog.records
    net.more = nn.Linear(4000, 3000)
    for _ in range(2):
        warn_of_size(net)
    (record,) = caplog.records
    assert "12 million parameters is trained on the CPU" in record.getMessage()


def test_what_is_solved_or_kept_as_it_is_has_no_size(
    mgp_genres: Fitted, caplog: pytest.LogCaptureFixture
) -> None:
    _say_once.cache_clear()
    net = load(best_checkpoint(mgp_genres.run), Net)
    net.more = nn.Linear(4000, 3000).requires_grad_(False)
    warn_of_size(net)
    net.more.requires_grad_(True)
    net.fusion.closed_form = True  # type: ignore[misc]
    warn_of_size(net)
    assert not caplog.records
