"""Targets: each keeps the contract; what is their own is tested here."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import World
from scipy.sparse import csr_matrix

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.targets.attributes import Attributes
from coldstart.targets.base import Target
from coldstart.targets.contrastive import Contrastive
from coldstart.targets.track_factors import TrackFactors
from coldstart.targets.user_softmax import UserSoftmax
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


class TestContrastive(TargetContract):
    tracks = TestTrackFactors.tracks
    facts = TestTrackFactors.facts

    def target(self) -> Target:
        return Contrastive(temperature=0.5)


def heard(plays: list[list[int]], users: list[list[float]]) -> Factors:
    """Factors of tracks t0, t1, … that these users [U, K] played so often [U, N]."""
    listens = csr_matrix(np.array(plays, np.float32))
    tracks, dim = listens.shape[1], len(users[0])
    return Factors(
        track_ids=[f"t{i}" for i in range(tracks)],
        user_ids=[f"u{i}" for i in range(len(users))],
        tracks=np.ones((tracks, dim), np.float32),
        users=np.array(users, np.float32),
        folded=np.zeros(tracks, dtype=bool),
        split=np.full(tracks, "train"),
        listens=listens,
        about={"algorithm": "implicit"},
    )


SCALE: Mapping[str, Any] = {"factors": 3, "id": "here", "mean": [0.0, 0.1, 0.0], "spread": 0.5}


class TestUserSoftmax(TargetContract):
    tracks = TestTrackFactors.tracks
    facts = SCALE
    factors = heard([[1, 0], [0, 3], [2, 2]], [[1, 0, 0], [0, 1, 0], [0.2, 0, 0.1]])

    def target(self) -> Target:
        return UserSoftmax()


def test_the_mean_of_the_attributes_costs_one_and_the_truth_nothing() -> None:
    target = Attributes()
    target.build({"names": ["joyful", "fast"], "mean": [0.5, 2.0], "std": [0.2, 0.1]})
    true = torch.tensor([[0.7, 2.1]])
    assert target.loss(torch.zeros(1, 2), true).item() == pytest.approx(1, abs=1e-5)
    assert target.loss(torch.ones(1, 2), true).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(target.output(torch.ones(1, 2)), true)


def test_other_truths_than_those_of_the_training_are_refused() -> None:
    target = Attributes()
    facts: Mapping[str, Any] = {
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


def test_another_piece_of_the_same_track_is_no_negative() -> None:
    target = Contrastive()
    target.build({"factors": 2, "id": "a"})
    true = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    twice = torch.tensor([0, 0, 1])
    single = target.objective(true, true, ["a", "b"])
    pieces = target.objective(true[twice], true[twice], ["a", "a", "b"])
    torch.testing.assert_close(pieces[0], single[0])
    confused = target.objective(true[twice], true[twice], ["a", "c", "b"])
    assert confused[0] > 0.6  # as likely one as the other
    assert single[0] < 0.001


def test_contrast_finds_the_truth_among_the_others() -> None:
    target = Contrastive()
    target.build({"factors": 3, "id": "a"})
    true = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    ids = [f"t{i}" for i in range(20)]
    right = target.objective(true * 7, true, ids).mean()
    assert right < target.objective(true.roll(1, 0), true, ids).mean()


def softmax_target(factors: Factors, **options: Any) -> UserSoftmax:
    target = UserSoftmax(**options)
    target.build({**SCALE, "mean": [0.0, 0.0, 0.0], "spread": 1.0})
    target.take(factors)
    return target


def test_the_users_objective_is_the_likelihood_of_their_listens() -> None:
    users = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 1.0]]
    plays = [[5, 0, 1, 9], [0, 1, 0, 9], [1, 1, 0, 9]]
    target = softmax_target(heard(plays, users), temperature=0.5)
    vectors = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.0, -0.2], [0.0, 0.4, 0.0]])
    got = target.objective(vectors, vectors, ["t0", "t1", "t2"])
    likely = torch.log_softmax(torch.tensor(users) @ vectors.T / 0.5, dim=1)
    listened = torch.tensor(plays)[:, :3] > 0
    torch.testing.assert_close(got.mean(), -likely[listened].mean())
    torch.testing.assert_close(got, -(likely * listened).sum(0) * 3 / listened.sum())


def test_users_of_whom_nothing_is_known_are_not_asked() -> None:
    plays = [[1, 0, 1], [0, 1, 0]]
    some = softmax_target(heard(plays, [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    alone = softmax_target(heard(plays[:1], [[1.0, 0.0, 0.0]]))
    vectors = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    ids = ["t0", "t1", "t2"]
    got = some.objective(vectors, vectors, ids)
    assert got[1] == 0
    torch.testing.assert_close(got, alone.objective(vectors, vectors, ids))
    nobody = softmax_target(heard([[1, 1, 1]], [[0.0, 0.0, 0.0]]))
    assert nobody.objective(vectors, vectors, ids).tolist() == [0, 0, 0]


def test_of_many_users_a_sample_is_asked_whose_mean_is_that_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    users = torch.randn(300, 3, generator=generator)
    plays = (torch.rand(300, 6, generator=generator) < 0.4).int()
    made = heard(plays.tolist(), users.tolist())
    vectors, ids = torch.randn(6, 3, generator=generator), [f"t{i}" for i in range(6)]
    every = softmax_target(made, temperature=1.0).objective(vectors, vectors, ids).mean()
    torch.manual_seed(0)
    few = softmax_target(made, temperature=1.0, users=30)
    drawn = torch.stack([few.objective(vectors, vectors, ids).mean() for _ in range(200)])
    assert drawn.std() > 0
    assert drawn.mean().item() == pytest.approx(every.item(), rel=0.03)


def test_ratings_are_no_listens() -> None:
    made = heard([[1, 1]], [[1.0, 0.0, 0.0]])
    made.about["algorithm"] = "explicit"
    with pytest.raises(InputError, match="of ratings"):
        softmax_target(made)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Contrastive(temperature=0), "Contrastive: temperature is above 0"),
        (lambda: UserSoftmax(temperature=-1), "UserSoftmax: temperature is above 0"),
        (lambda: UserSoftmax(users=0), "users at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Target], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


@pytest.mark.parametrize("target", ["UserSoftmax", "Contrastive"])
def test_a_fit_by_another_objective_learns_resumes_and_ranks(
    target: str, tiny_world: World, tmp_path: Path
) -> None:
    """By configuration alone."""
    data = ["--data.shards", str(tiny_world.shards), "--data.factors", str(tiny_world.factors)]
    run = ["--run", str(tmp_path / "run")]
    said = ["fit", "--config", "mgp.yaml", *data, "--model.target", target, *run]
    assert main([*said, "--trainer.max_epochs", "4"]) == 0
    assert main(["fit", *run, "--ckpt_path", "last", "--trainer.max_epochs", "30"]) == 0
    assert main(["test", *run]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    ndcg = {row["method"]: row["ndcg"] for row in results["rows"]}
    assert ndcg["coldstart"] > ndcg["shuffled content"]


def test_what_is_solved_is_not_what_another_objective_asks_for(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data.shards", str(tiny_world.shards), "--data.factors", str(tiny_world.factors)]
    said = ["fit", "--config", "kernel.yaml", *data, "--run", str(tmp_path / "run")]
    assert main([*said, "--model.target", "UserSoftmax"]) == 2
    assert "UserSoftmax has an objective of its own" in capsys.readouterr().err
