"""The bootstrap: what is known of means of many users."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.uncertainty import difference, interval, resampled_means


def drawn(users: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(users, generator=torch.Generator().manual_seed(seed))


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """Of a mean of many: 1.96 standard errors to each side."""
    users = drawn(20_000)
    low, high = interval(resampled_means(users[None])[:, 0])
    error = float(users.std()) / 20_000**0.5
    assert low == pytest.approx(float(users.mean()) - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(float(users.mean()) + 1.96 * error, abs=0.2 * error)


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    truth, held = 0.5, 0
    for seed in range(200):
        low, high = interval(resampled_means(drawn(150, seed)[None], 300, seed)[:, 0])
        held += low <= truth <= high
    assert 180 <= held <= 199


def test_pairing_sees_what_single_intervals_cannot() -> None:
    """Users differ far more than the methods do."""
    easy = drawn(500)
    ours, rival = easy + 0.01 + 0.01 * (drawn(500, 1) - 0.5), easy
    resampled = resampled_means(torch.stack([ours, rival]))
    one, two = interval(resampled[:, 0]), interval(resampled[:, 1])
    assert one.low < two.high, "alone they can't be told apart"
    gap = difference(ours, rival, resampled)
    assert gap.low > 0
    assert gap.behind == 0
    back = difference(rival, ours, resampled.flip(1))
    assert (back.mean, back.behind) == (pytest.approx(-gap.mean), 1)


def test_equal_methods_are_not_ahead() -> None:
    users = drawn(50)
    gap = difference(users, users, resampled_means(torch.stack([users, users])))
    assert tuple(gap) == (0, 0, 0, 1)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.integers(0, 9))
def test_means_stay_within_the_users_and_hang_on_the_seed_alone(
    values: list[float], seed: int
) -> None:
    users = torch.tensor([values])
    means = resampled_means(users, 50, seed)
    assert means.shape == (50, 1)
    assert means.min() >= min(values) - 1e-5
    assert means.max() <= max(values) + 1e-5
    torch.testing.assert_close(means, resampled_means(users, 50, seed))


def test_memory_is_bounded_and_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    users = drawn(100)[None]
    whole = resampled_means(users, 30)
    monkeypatch.setattr("coldstart.uncertainty._AT_ONCE", 700)
    torch.testing.assert_close(whole, resampled_means(users, 30))
