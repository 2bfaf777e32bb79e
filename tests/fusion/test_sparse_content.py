"""Content of which few numbers aren't zero: sparse from the reader on, with the dense results."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coldstart.encoders import sparse_rows
from coldstart.encoders.sparse_rows import SparseRows, as_dense, at, compressed, joined
from coldstart.fusion.base import InnerFold, Solvable
from coldstart.fusion.features import KernelFeatures, SparsePart, products_of
from coldstart.fusion.fit_tracks import sample_tracks
from coldstart.fusion.kernel import Kernel, KernelName
from coldstart.model.attribution import integrated_gradients

WIDTH = 1200
NAMES = ("plain", "tags", "words")
DIMS = {"plain": 6, "tags": WIDTH, "words": WIDTH + 300}


class World:
    """Tracks with dense content, tags and words; a tenth of them lacks each of these."""

    def __init__(self, tracks: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        often = 1 / torch.arange(1, WIDTH + 1)
        drawn = torch.multinomial(often.expand(tracks, -1), 25, generator=generator)
        tags = torch.zeros(tracks, WIDTH).scatter(1, drawn, 1.0)
        drawn = torch.multinomial(often.expand(tracks, -1), 40, generator=generator)
        weights = torch.rand(tracks, 40, generator=generator)
        words = torch.zeros(tracks, WIDTH + 300).scatter(1, drawn, weights)
        words /= words.norm(dim=1, keepdim=True)
        words[1] = words[0]
        plain = torch.randn(tracks, 6, generator=generator)
        axes = torch.Generator().manual_seed(99)
        places = torch.randn(2, 40, 3, generator=axes)  # of the words that most have
        by_tags, by_words = tags[:, :40] @ places[0], words[:, :40] @ places[1]
        self.vectors = by_tags + 4 * by_words + plain[:, :3] * (1 + by_tags) + 1
        self.vectors += 0.1 * torch.randn(tracks, 3, generator=generator)
        self.encoded = {"plain": plain, "tags": tags, "words": words}
        lacks = torch.rand(3, tracks, generator=generator) < 0.1
        self.present = {name: ~lack for name, lack in zip(NAMES, lacks, strict=True)}
        for name, mask in self.present.items():
            self.encoded[name][~mask] = 7.0  # what an encoder gives for a missing one

    def rows(self) -> Iterator[Solvable]:
        tracks = len(self.vectors)
        for start in range(0, tracks, 64):
            part = slice(start, start + 64)
            yield Solvable(
                {name: values[part] for name, values in self.encoded.items()},
                {name: mask[part] for name, mask in self.present.items()},
                self.vectors[part],
                torch.arange(tracks)[part],
                [f"t{i}" for i in range(tracks)[part]],
            )


def solved(world: World, folds: Any = None, **options: Any) -> tuple[Kernel, str]:
    head = Kernel(**options)
    head.build(DIMS, 3)
    head.to(world.vectors.dtype)
    return head, head.solve(world.rows, folds)


def precise(world: World) -> World:
    """In float64."""
    made = copy.copy(world)
    made.encoded = {name: values.double() for name, values in world.encoded.items()}
    made.vectors = world.vectors.double()
    return made


def never_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_rows, "WIDE", 10**9)


def both(
    monkeypatch: pytest.MonkeyPatch, world: World, folds: Any = None, **options: Any
) -> tuple[Kernel, Kernel]:
    """Solved with sparse content, and with dense in float64: in float32 that is less exact."""
    sparse, said = solved(world, folds, **options)
    assert sorted(sparse.sparse) == ["tags", "words"]
    never_sparse(monkeypatch)
    dense, said_of_dense = solved(precise(world), folds, **options)
    assert not dense.sparse
    assert said == said_of_dense
    for name in ("weight", "number", "penalty"):
        assert torch.equal(
            sparse.get_buffer(name).to(dense.get_buffer(name)), dense.get_buffer(name)
        )
    assert int((sparse.get_buffer("weight")[1:] > 0).sum()) > 0
    return sparse, dense


def agree(sparse: Kernel, dense: Kernel, atol: float = 1e-5) -> None:
    """On other tracks; `atol` is a share of the spread."""
    new = World(80, seed=1)
    expected = dense(precise(new).encoded, new.present)
    spread = float(expected.std())
    found = copy.deepcopy(sparse).double()(precise(new).encoded, new.present)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol * spread)
    found = sparse(new.encoded, new.present)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=(atol + 2e-4) * spread)


@pytest.mark.parametrize("kernel", ["laplace", "quadratic", "linear", "auto"])
def test_sparse_content_gives_the_choice_and_the_predictions_of_dense(
    kernel: KernelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse, dense = both(monkeypatch, World(300), kernel=kernel)
    assert int((sparse.get_buffer("weight") > 0).sum()) > 1
    agree(sparse, dense)


@pytest.mark.parametrize("kernel", ["laplace", "quadratic", "linear"])
def test_explanations_differentiate_both_alike(
    kernel: KernelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a track that was fitted on, at which a distance is 0."""
    world = World(200)
    sparse, dense = both(monkeypatch, world, kernel=kernel)
    for track, name in ((0, "tags"), (3, "words"), (5, "plain")):
        one = _contributions(copy.deepcopy(sparse).double(), world, track, name)
        other = _contributions(dense, world, track, name)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            _contributions(sparse, world, track, name).double(), other, rtol=1e-3, atol=1e-3
        )


def _contributions(head: Kernel, world: World, track: int, name: str) -> Tensor:
    """What each number of a modality adds to a track's first predicted number."""
    dtype = head.get_buffer("bias").dtype
    encoded = {name: values[track].to(dtype) for name, values in world.encoded.items()}

    def score(path: Tensor) -> Tensor:
        count = len(path)
        others = {name: values.expand(count, -1) for name, values in encoded.items()}
        there = dict.fromkeys(NAMES, torch.ones(count, dtype=torch.bool))
        predicted: Tensor = head(others | {name: path[:, 0]}, there)
        return predicted[:, 0]

    values = encoded[name][None]
    parts = integrated_gradients(score, values, torch.zeros_like(values[0]))
    assert parts.isfinite().all()
    return parts


def test_a_gradient_at_a_centre_is_finite() -> None:
    world = World(100)
    head, _ = solved(world, kernel="laplace")
    encoded = {n: v[:5].clone().requires_grad_() for n, v in world.encoded.items()}
    head(encoded, {n: mask[:5] for n, mask in world.present.items()}).sum().backward()
    assert all(v.grad is not None and v.grad.isfinite().all() for v in encoded.values())


@pytest.mark.parametrize("kernel", ["laplace", "linear"])
def test_a_few_centres_are_solved_for_alike(
    kernel: KernelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nyström: all tracks count, 64 are centres."""
    options = {"kernel": kernel, "landmarks": 64, "penalties": (0.3,)}
    agree(*both(monkeypatch, World(300), **options))


def test_conjugate_gradients_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coldstart.fusion.kernel.EXACT", 100)
    monkeypatch.setattr("coldstart.fusion.conjugate._ENTRIES", 20_000)  # several blocks
    monkeypatch.setattr("coldstart.fusion.features._ENTRIES", 20_000)
    agree(*both(monkeypatch, World(300), kernel="laplace", penalties=(0.3,)), atol=1e-3)


def test_what_plays_choose_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(120)

    def folds(ids: Sequence[str], _group: Tensor) -> list[InnerFold]:
        rows = torch.tensor([int(track[1:]) for track in ids])
        away = rows % 3 == 0
        truth = world.vectors[rows][away]
        seen = torch.where(away[:, None], 0.0, world.vectors[rows])
        return [InnerFold(away, seen, lambda p: -float((p - truth).square().mean()))]

    sparse, dense = both(monkeypatch, world, folds)
    agree(sparse, dense)
    torch.testing.assert_close(sparse.smoother(), dense.smoother(), rtol=1e-5, atol=1e-5)
    one, other = _unseen(sparse, world), _unseen(dense, precise(world))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def _unseen(head: Kernel, world: World) -> Tensor:
    """What is predicted of each centre without it."""
    return head._unseen(sample_tracks(world.rows(), NAMES, head.landmarks, head.seed)[0])


def test_a_checkpoint_holds_what_is_not_zero_and_restores_it() -> None:
    world, new = World(200), World(30, seed=1)
    head, _ = solved(world, kernel="laplace", penalties=(0.1,))
    state = head.state_dict()
    assert state["centres"].shape == (200, 6)
    stored = sum(value.nbytes for name, value in state.items() if name.startswith("sparse"))
    assert stored < 200 * (25 + 40) * 8 + 2 * 200 * 10
    twin = Kernel()
    twin.build(DIMS, 3)
    twin.load_state_dict(state)
    assert torch.equal(twin(new.encoded, new.present), head(new.encoded, new.present))


def _cut(state: dict[str, Tensor]) -> None:
    state["sparse.tags.columns"] = state["sparse.tags.columns"][:-1]


def _far(state: dict[str, Tensor]) -> None:
    state["sparse.tags.columns"] = state["sparse.tags.columns"] + WIDTH


def _below(state: dict[str, Tensor]) -> None:
    state["sparse.tags.columns"] = state["sparse.tags.columns"] - 1


def _backwards(state: dict[str, Tensor]) -> None:
    state["sparse.tags.starts"] = state["sparse.tags.starts"].flip(0)


def _fewer(state: dict[str, Tensor]) -> None:
    state["sparse.tags.present"] = state["sparse.tags.present"][:-1]


def _others(state: dict[str, Tensor]) -> None:
    state["centres"] = state["centres"][:-1]


def _square(state: dict[str, Tensor]) -> None:
    state["sparse.tags.values"] = state["sparse.tags.values"][None]


def _lost(state: dict[str, Tensor]) -> None:
    del state["sparse.tags.present"]


@pytest.mark.parametrize(
    "damage", [_cut, _far, _below, _backwards, _fewer, _others, _square, _lost]
)
def test_a_damaged_checkpoint_is_refused(damage: Callable[[dict[str, Tensor]], None]) -> None:
    head, _ = solved(World(60), kernel="linear")
    state = dict(head.state_dict())
    damage(state)
    twin = Kernel()
    twin.build(DIMS, 3)
    with pytest.raises(RuntimeError, match="sparse"):
        twin.load_state_dict(state)


def test_a_head_that_was_sparse_is_solved_anew_on_other_content() -> None:
    world = World(100)
    head, _ = solved(world)
    world.encoded = {name: torch.rand_like(values) for name, values in world.encoded.items()}
    head.solve(world.rows)
    assert not head.sparse
    fresh, _ = solved(world)
    torch.testing.assert_close(
        head(world.encoded, world.present), fresh(world.encoded, world.present)
    )


def test_texts_that_are_the_same_for_all_tracks_tell_nothing() -> None:
    world = World(60)
    world.encoded["words"][:] = world.encoded["words"][0]
    world.present["words"][:] = True
    head, _ = solved(world)
    assert float(head.get_buffer("weight")[2]) == 0 or not head.get_buffer("scale")[-1]
    assert head(world.encoded, world.present).isfinite().all()


rows_of_numbers = st.lists(
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.5]), min_size=4, max_size=4), min_size=1
)


@given(rows_of_numbers, st.lists(st.integers(0, 10**6), max_size=5))
def test_sparse_rows_are_the_dense_ones(numbers: list[list[float]], chosen: list[int]) -> None:
    dense = torch.tensor(numbers)
    rows = torch.tensor([i % len(dense) for i in chosen], dtype=torch.int64)
    sparse = SparseRows.of(dense)
    assert sparse.is_whole()
    assert torch.equal(sparse.dense(), dense)
    assert torch.equal(as_dense(at(sparse, rows)), dense[rows])
    assert torch.equal(as_dense(joined([sparse, dense, at(sparse, rows)])), _all(dense, rows))
    columns = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(sparse.times(columns), dense.double() @ columns)
    torch.testing.assert_close(sparse.squared_lengths(), dense.double().square().sum(1))
    torch.testing.assert_close(sparse.column_sums(), dense.double().sum(0))
    assert len(sparse.emptied()) == len(dense)
    assert not sparse.emptied().dense().any()


def _all(dense: Tensor, rows: Tensor) -> Tensor:
    return torch.cat([dense, dense, dense[rows]])


def test_only_wide_rows_of_few_numbers_are_compressed() -> None:
    few = torch.zeros(40, 1000)
    few[:, :50] = 1
    assert isinstance(compressed(few), SparseRows)
    assert isinstance(compressed(few[:, :999]), Tensor)
    assert isinstance(compressed(few + torch.eye(40, 1000).flip(1)), Tensor)
    many = torch.ones(4, 1000)
    assert isinstance(joined([SparseRows.of(few), few]), SparseRows)
    assert isinstance(joined([SparseRows.of(few), many]), Tensor)
    assert torch.equal(as_dense(joined([SparseRows.of(few), many])), torch.cat([few, many]))


@given(st.integers(0, 1000))
def test_products_and_distances_are_those_of_centred_rows(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(9, 5, generator=generator) * (torch.rand(9, 5, generator=generator) < 0.4)
    values[3] = values[2]
    there = torch.rand(9, generator=generator) < 0.8
    plain, mean = torch.randn(9, 2, generator=generator).double(), values.mean(0)
    part = SparsePart(SparseRows.of(values), there, mean, 0.7)
    features = KernelFeatures(plain, (part,))
    centred = torch.where(there[:, None], 0.7 * (values.double() - mean.double()), 0.0)
    whole = torch.cat([plain, centred], dim=1)
    pairs = products_of(features, features)
    torch.testing.assert_close(pairs.products(), whole @ whole.T)
    torch.testing.assert_close(pairs.distances(), torch.cdist(whole, whole), atol=1e-6, rtol=1e-6)
    assert not pairs.distances().diagonal().any()
    torch.testing.assert_close(features.squares(), whole.square().sum(1))
    torch.testing.assert_close(features.distances(), torch.pdist(whole), atol=1e-6, rtol=1e-6)
