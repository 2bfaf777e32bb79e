"""Kernel ridge regression: what is solved, chosen and refused."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
import torch
from helpers import World
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError
from coldstart.fusion.base import InnerFold, Solvable
from coldstart.fusion.kernel import PENALTIES, Kernel
from coldstart.fusion.ridge import ridge
from coldstart.tables.splits import read_splits
from coldstart.training.solve import groups_of


@given(
    st.integers(0, 1000),
    st.sampled_from([0.01, 0.3, 5.0]),
    st.lists(st.integers(0, 6), min_size=7, max_size=7),
)
def test_the_error_is_what_leaving_each_group_out_gives(
    seed: int, penalty: float, group: list[int]
) -> None:
    """Also where each track is a group, or all are one."""
    generator = torch.Generator().manual_seed(seed)
    content = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    aim = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    kernel = torch.exp(-torch.cdist(content, content))
    fit = ridge(kernel, aim, [penalty], torch.tensor(group))
    slow = []
    for i in range(7):
        rest = [j for j in range(7) if group[j] != group[i]]
        inside = kernel[rest][:, rest] + penalty * torch.eye(len(rest), dtype=torch.float64)
        predicted = kernel[i, rest] @ torch.linalg.solve(inside, aim[rest])
        slow.append((aim[i] - predicted).square().sum())
    assert fit.error == pytest.approx(float(sum(slow) / aim.square().sum()), rel=1e-6)
    again = kernel @ fit.coefficients + penalty * fit.coefficients
    torch.testing.assert_close(again, aim)


def rows_of(
    encoded: Mapping[str, Tensor],
    vectors: Tensor,
    size: int = 64,
    group: Tensor | None = None,
) -> Iterator[Solvable]:
    group = torch.arange(len(vectors)) if group is None else group
    for start in range(0, len(vectors), size):
        part = slice(start, start + size)
        values = {name: value[part] for name, value in encoded.items()}
        there = {name: torch.ones(len(v), dtype=torch.bool) for name, v in values.items()}
        yield Solvable(values, there, vectors[part], group[part])


def planted(tracks: int, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """Vectors that bend with the content of `telling`, on a scale of its own; `noise` is that."""
    generator = torch.Generator().manual_seed(seed)
    telling = torch.rand(tracks, 3, generator=generator)
    noise = 100 * torch.rand(tracks, 5, generator=generator)
    vectors = torch.stack([(4 * telling[:, 0]).sin(), telling[:, 1] * telling[:, 2]], dim=1)
    return {"telling": telling, "noise": noise}, vectors + 3


def solved(
    head: Kernel, encoded: Mapping[str, Tensor], vectors: Tensor, group: Tensor | None = None
) -> Kernel:
    head.build({name: value.shape[1] for name, value in encoded.items()}, vectors.shape[1])
    head.solve(lambda: rows_of(encoded, vectors, group=group))
    return head


def error(head: Kernel, encoded: Mapping[str, Tensor], vectors: Tensor) -> float:
    values, there, *_ = next(iter(rows_of(encoded, vectors, len(vectors))))
    missed = (head(values, there) - vectors).square().sum()
    return float(missed / (vectors - vectors.mean(0)).square().sum())


def test_it_learns_a_bent_relation_and_leaves_out_what_tells_nothing() -> None:
    encoded, vectors = planted(400)
    head = solved(Kernel(), encoded, vectors)
    weight = dict(zip(head.names, head.get_buffer("weight").tolist(), strict=True))
    assert weight["telling"] == 1
    assert weight["noise"] == 0
    assert error(head, *planted(100, seed=1)) < 0.05


def test_one_kernel_bends_and_the_other_knows_lines_and_products() -> None:
    """Five hundred tracks: products among ten features, and waves along two."""
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(700, 10, generator=generator)
    products = (many @ torch.randn(10, 2, generator=generator)) * many[:, :2]
    few = 2 * torch.rand(700, 2, generator=generator)
    waves = torch.stack([(5 * few[:, 0]).sin(), (4 * few[:, 1]).cos()], dim=1)

    def missed(kernel: Literal["laplace", "quadratic"], content: Tensor, vectors: Tensor) -> float:
        head = solved(Kernel(kernel=kernel), {"a": content[:500]}, vectors[:500])
        return error(head, {"a": content[500:]}, vectors[500:])

    assert missed("quadratic", many, products) < 0.01 < missed("laplace", many, products)
    assert missed("laplace", few, waves) < 0.05 < missed("quadratic", few, waves)


def test_the_kernel_that_suits_the_content_is_chosen() -> None:
    """By the error of left-out vectors, where nobody's plays are known."""
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(300, 10, generator=generator)
    few = 2 * torch.rand(300, 2, generator=generator)
    weights = torch.randn(10, 2, generator=generator)
    waves = torch.stack([(5 * few[:, 0]).sin(), (4 * few[:, 1]).cos()], dim=1)
    noise = 3 * torch.randn(300, 2, generator=generator)
    assert solved(Kernel(), {"a": many}, (many @ weights) * many[:, :2]).kernel == "quadratic"
    assert solved(Kernel(), {"a": many}, many @ weights + noise).kernel == "linear"
    assert solved(Kernel(), {"a": few}, waves).kernel == "laplace"


def test_ranking_chooses_what_squared_error_would_not() -> None:
    """One loud axis that nobody listens by is bent; the quiet one that all go by is a line."""
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(120, 2, generator=generator)
    loud = 30 * (4 * content[:, 0]).sin()
    quiet = content[:, 1] + 0.8 * torch.randn(120, generator=generator)
    vectors = torch.stack([loud, quiet], dim=1)
    hidden = torch.arange(120) % 3 == 0

    def folds(_ids: Sequence[str], group: Tensor) -> list[InnerFold]:
        away = hidden[group]  # the sample is in an order of its own; here a group is a track
        truth = content[group, 1][away]
        seen = torch.where(away[:, None], 0.0, vectors[group])
        return [InnerFold(away, seen, lambda p: -float((p[:, 1] - truth).square().mean()))]

    head = Kernel()
    head.build({"a": 2}, 2)
    assert "laplace" in head.solve(lambda: rows_of({"a": content}, vectors))
    assert "laplace" not in head.solve(lambda: rows_of({"a": content}, vectors), folds)


def test_tracks_that_are_left_out_together_cannot_choose_by_each_other() -> None:
    """Albums: eight tracks with nearly one content and one vector, which says nothing of others."""
    generator = torch.Generator().manual_seed(0)
    album = torch.arange(40).repeat_interleave(8)
    content = torch.randn(40, 6, generator=generator)[album]
    content = content + 0.05 * torch.randn(320, 6, generator=generator)
    vectors = torch.randn(40, 2, generator=generator)[album]
    alone = solved(Kernel(), {"a": content}, vectors)
    together = solved(Kernel(), {"a": content}, vectors, album)
    penalties = [float(head.get_buffer("penalty")) for head in (alone, together)]
    assert penalties[0] < 0.1
    assert penalties[1] == max(PENALTIES)


@pytest.mark.parametrize("method", ["random", "artist"])
def test_what_is_left_out_together_is_what_the_split_has_apart(
    method: Literal["random", "artist"], tiny_world: World, tmp_path: Path
) -> None:
    catalogue, splits, shards = tiny_world.catalogue, tmp_path / "splits.parquet", tmp_path / "s"
    split(catalogue / "tracks.parquet", out=splits, method=method)
    table = pl.read_parquet(catalogue / "tracks.parquet").drop("audio")
    table.write_parquet(tmp_path / "tracks.parquet")
    shard(tmp_path / "tracks.parquet", out=shards, splits=splits)
    group = groups_of(ColdStartData(str(shards), None))
    training = read_splits(splits).filter(pl.col("split") == "train")["track_id"].to_list()
    assert sorted(group) == sorted(training)
    artist = dict(table.select("track_id", "artist_id").iter_rows())
    if method == "artist":
        assert len(set(group.values())) == len({artist[track] for track in training})
        pairs = {(artist[track], number) for track, number in group.items()}
        assert len(pairs) == len(set(group.values()))
    else:
        assert len(set(group.values())) == len(training)


def test_scale_and_origin_of_a_modality_do_not_matter() -> None:
    encoded, vectors = planted(100)
    moved = {name: 1000 * value - 7 for name, value in encoded.items()}
    one, other = solved(Kernel(), encoded, vectors), solved(Kernel(), moved, vectors)
    there = {name: torch.ones(100, dtype=torch.bool) for name in encoded}
    torch.testing.assert_close(one(encoded, there), other(moved, there), rtol=1e-3, atol=1e-3)


def test_it_is_exact_where_the_penalty_was_chosen_on_some(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, vectors = planted(300)
    monkeypatch.setattr("coldstart.fusion.kernel.CHOICE_TRACKS", 100)
    head = solved(Kernel(kernel="laplace"), encoded, vectors)
    centres, penalty = head.get_buffer("centres"), float(head.get_buffer("penalty"))
    assert len(centres) == len(head.get_buffer("coefficients")) == 300
    there = {name: torch.ones(300, dtype=torch.bool) for name in encoded}
    fitted = head(encoded, there)
    near = head._kernel(head._features(encoded, there), head._centres())
    # (K + λ I) c = y − bias means K c = y − bias − λ c, whatever the order of the centres.
    order = near.argmax(1)
    assert sorted(order.tolist()) == list(range(300))
    left = vectors - fitted
    torch.testing.assert_close(
        left, penalty * head.get_buffer("coefficients")[order], rtol=1e-3, atol=1e-3
    )


def test_all_tracks_count_where_only_some_are_centres() -> None:
    encoded, vectors = planted(2000)
    vectors = vectors + torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    held = planted(300, seed=1)
    every = solved(Kernel(weights=(1.0,), kernel="laplace"), encoded, vectors)
    some = solved(Kernel(landmarks=150, weights=(1.0,), kernel="laplace"), encoded, vectors)
    few = {name: value[:150] for name, value in encoded.items()}
    only = solved(Kernel(weights=(1.0,), kernel="laplace"), few, vectors[:150])
    assert len(some.get_buffer("centres")) == 150
    assert error(every, *held) < 1.2 * error(some, *held)
    assert error(some, *held) < 0.7 * error(only, *held)


def test_with_all_tracks_as_centres_the_two_ways_to_solve_agree() -> None:
    encoded, vectors = planted(60)
    head = solved(Kernel(kernel="laplace"), encoded, vectors)
    exact = head.get_buffer("coefficients")
    penalty, centres = float(head.get_buffer("penalty")), head._centres()
    again = head._nystrom_coefficients(rows_of(encoded, vectors), centres, penalty)
    torch.testing.assert_close(again.float(), exact, rtol=1e-2, atol=1e-3)


def test_a_track_that_lacks_a_modality_is_at_its_mean() -> None:
    encoded, vectors = planted(50)
    head = solved(Kernel(), encoded, vectors)
    mean = {name: value.mean(0, keepdim=True) for name, value in encoded.items()}
    there, away = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
    nothing = {name: torch.full_like(value, 1e6) for name, value in mean.items()}
    torch.testing.assert_close(
        head(nothing, dict.fromkeys(mean, away)), head(mean, dict.fromkeys(mean, there))
    )


@pytest.mark.parametrize(
    "options",
    [
        {"landmarks": 1},
        {"width": 0.0},
        {"penalties": ()},
        {"penalties": (0.0,)},
        {"weights": (0,)},
        {"kernel": "cubic"},
    ],
)
def test_settings_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Kernel"):
        Kernel(**options)


def test_too_few_tracks_are_refused() -> None:
    with pytest.raises(InputError, match="2 training tracks are too few"):
        solved(Kernel(), *planted(2))


def test_content_that_is_the_same_for_most_or_all_tracks() -> None:
    rare = torch.zeros(40, 2)
    rare[:4, 0] = 1
    vectors = rare + 0.01 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    head = solved(Kernel(), {"genres": rare}, vectors)
    assert error(head, {"genres": rare}, vectors) < 0.2
    with pytest.raises(InputError, match="genres say the same of all training tracks"):
        solved(Kernel(), {"genres": torch.ones(40, 2)}, vectors)
