"""The bootstrap: what is known of means of many users."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.evaluation.uncertainty import (
    difference,
    interval,
    pooled,
    resampled_means,
    sign_flip_p,
)


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
    assert back.mean == pytest.approx(-gap.mean)
    assert back.behind == 1


def test_equal_methods_are_not_ahead() -> None:
    users = drawn(50)
    gap = difference(users, users, resampled_means(torch.stack([users, users])))
    assert tuple(gap) == (0, 0, 0, 1, 1)


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
    monkeypatch.setattr("coldstart.evaluation.uncertainty._BLOCK", 700)
    torch.testing.assert_close(whole, resampled_means(users, 30))


def test_a_flipped_sign_says_what_all_flips_say() -> None:
    gaps = torch.tensor([0.4, 0.3, -0.1, 0.2, 0.0, 0.05])
    there = gaps[gaps != 0]
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=len(there))))
    exact = float(((signs @ there).abs() >= there.sum().abs() - 1e-6).float().mean())
    assert sign_flip_p(gaps) == pytest.approx(exact, abs=0.02)
    assert sign_flip_p(-gaps) == sign_flip_p(gaps)
    assert sign_flip_p(gaps, seed=1) == sign_flip_p(gaps, seed=1) != sign_flip_p(gaps, seed=2)


def test_equal_methods_get_small_p_as_seldom_as_p_says() -> None:
    found = [sign_flip_p(drawn(60, seed) - 0.5, flips=199, seed=seed) for seed in range(300)]
    assert 3 <= sum(p <= 0.05 for p in found) <= 30  # 15 are to be expected
    assert sign_flip_p(torch.full((60,), 0.01)) == 1 / 10_000


def test_memory_of_flips_is_bounded_and_draws_stay_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = drawn(100) - 0.4
    whole = sign_flip_p(gaps)
    monkeypatch.setattr("coldstart.evaluation.uncertainty._BLOCK", 700)
    assert sign_flip_p(gaps) == pytest.approx(whole, abs=0.02)


def test_pooling_one_split_is_that_split() -> None:
    users, ids = torch.stack([drawn(400), drawn(400, 1)]), [f"u{i}" for i in range(400)]
    alone = pooled([ids], [users])
    torch.testing.assert_close(alone.mean, users.double().mean(1))
    once, plain = alone.interval(0), interval(resampled_means(users)[:, 0])
    assert once.low == pytest.approx(plain.low, abs=0.01)
    assert once.high == pytest.approx(plain.high, abs=0.01)


def test_splits_weigh_alike_and_a_user_of_all_of_them_is_drawn_as_one() -> None:
    small, large = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 200)
    ids = [f"u{i}" for i in range(200)]
    assert pooled([ids[:2], ids], [small, large]).mean.tolist() == [0.25]
    # The same users five times tell no more than once; 5 × as many users would.
    same = drawn(200)[None]
    once, often = pooled([ids], [same]), pooled([ids] * 5, [same] * 5)
    torch.testing.assert_close(once.resampled, often.resampled)
    others = [[f"{number}/{user}" for user in ids] for number in range(5)]
    apart = pooled(others, [drawn(200, seed)[None] for seed in range(5)])
    wide, narrow = once.interval(0), apart.interval(0)
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)


def test_a_pooled_difference_is_paired() -> None:
    ids = [f"u{i}" for i in range(300)]
    splits = [
        torch.stack([easy + 0.01 + 0.01 * (drawn(300, seed + 9) - 0.5), easy])
        for seed, easy in ((seed, drawn(300, seed)) for seed in range(3))
    ]
    made = pooled([ids, ids[::-1], ids], [splits[0], splits[1].flip(1), splits[2]])
    gap = made.difference(0, 1)
    assert 0 < gap.low < gap.mean < gap.high
    assert gap.mean == pytest.approx(0.01, abs=0.001)
    assert gap.p == 1 / 10_000
    assert made.difference(1, 0).mean == pytest.approx(-gap.mean)
    torch.testing.assert_close(made.by_user.sum(1), made.mean)


def test_pooling_refuses_what_does_not_fit() -> None:
    for ids, figures in [([], []), ([["a"]], [drawn(2)[None]]), ([["a", "a"]], [drawn(2)[None]])]:
        with pytest.raises(InputError, match="pooling"):
            pooled(ids, figures)
