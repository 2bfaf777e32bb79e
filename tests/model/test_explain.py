"""Why a track was recommended: shares that add up, and that are right where the answer is known."""

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL_AUDIO, World
from torch import Tensor
from torch.nn import functional as F

import coldstart as cs
from coldstart.cli import main
from coldstart.commands.recommend import recommend
from coldstart.data.batch import Batch
from coldstart.encoders.base import Encoder, Modality
from coldstart.encoders.embedding import Embedding
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.fusion.base import FusionHead
from coldstart.fusion.mean import MeanLateFusion
from coldstart.model.attribution import integrated_gradients
from coldstart.model.explain import (
    FeaturePath,
    Pieces,
    Similarity,
    Why,
    collect,
    explain,
    own_paths,
    path_through,
)
from coldstart.retrieval.query import Recommendation
from coldstart.shards.reading import Shards
from coldstart.training.lightning_module import ColdStart

QUICK = ["--trainer.max_epochs=3", "--trainer.enable_progress_bar=false"]


class Angle(Encoder):
    """Features → the unit vector at the angle weights · features."""

    interface = 1
    fields = ("angle.npy",)

    def __init__(self, weights: list[float], names: list[str], baseline: list[float]) -> None:
        super().__init__()
        self.weights, self.names, self.start_at = weights, names, baseline
        self.dim = 2

    def build(self, info: Mapping[str, Any]) -> None:
        self.w = torch.tensor(self.weights)

    def feature_names(self) -> list[str] | None:
        return self.names or None

    def feature_baseline(self) -> Tensor:
        return torch.tensor(self.start_at)

    def encode(self, values: Tensor) -> Tensor:
        angle = values @ self.w
        return torch.stack([angle.cos(), angle.sin()], dim=1)


QUERY = torch.tensor([3.0, 0.0])


def to_the_query(vectors: Tensor) -> Tensor:
    """Cosine."""
    return F.normalize(vectors, dim=1) @ F.normalize(QUERY, dim=0)


def planted(**encoders: Encoder) -> ColdStart:
    """Directions are averaged with equal weights, and nothing else is done to them."""
    model = ColdStart(dict(encoders), MeanLateFusion())
    facts = {"factors": 2, "mean": [0.0, 0.0]}
    model.build(lambda folder: facts)
    return model.eval()


def seen(model: ColdStart, **values: list[list[float]] | None) -> Pieces:
    """A track with these features, piece by piece; None is missing."""
    pieces = max(len(rows or []) for rows in values.values())
    inputs = {
        name: Modality(
            torch.tensor(rows) if rows else torch.zeros(pieces, _width(model, name)),
            torch.full((pieces,), rows is not None),
        )
        for name, rows in values.items()
    }
    target = Modality(torch.zeros(pieces, 2), torch.zeros(pieces, dtype=torch.bool))
    return collect(model, [Batch(inputs, target, ["t"] * pieces)])["t"]


def _width(model: ColdStart, name: str) -> int:
    encoder = model.encoders[name]
    return len(encoder.weights) if isinstance(encoder, Angle) else 2


def total(why: Why) -> float:
    for share in why.modalities:
        if share.base is not None:
            assert share.base + sum(share.attributes.values()) == pytest.approx(share.value)
    return sum(share.value for share in why.modalities)


def test_a_linear_score_is_split_as_it_was_made() -> None:
    w, start = torch.tensor([0.5, -2.0, 0.0]), torch.tensor([1.0, 0.5, 7.0])
    values = torch.tensor([[2.0, 1.0, 3.0], [4.0, 1.0, 3.0]])
    parts = integrated_gradients(lambda x: (x @ w).sum(1), values, start)
    torch.testing.assert_close(parts, (w * (values - start)).sum(0))


def test_one_modality_takes_the_whole_score_and_its_attributes_their_part_of_the_angle() -> None:
    model = planted(a=Angle([0.5, 0.25, 1.0], ["x", "y", "z"], [0.4, 0.4, 0.1]))
    pieces = seen(model, a=[[1.4, 0.0, 0.1]])
    why = explain(model, pieces, to_the_query, own_paths(model, pieces))
    (share,) = why.modalities
    here, start = 0.7 + 0.1, 0.2 + 0.1 + 0.1
    assert share.value == pytest.approx(math.cos(here), abs=1e-5)
    assert share.base == pytest.approx(math.cos(start), abs=1e-4)
    per_angle = (math.cos(here) - math.cos(start)) / (here - start)
    assert share.attributes == {
        "x": pytest.approx(0.5 * per_angle, abs=1e-4),
        "y": pytest.approx(-0.1 * per_angle, abs=1e-4),
    }
    assert total(why) == pytest.approx(math.cos(here), abs=1e-5)


def test_modalities_share_by_what_they_add_to_every_subset() -> None:
    model = planted(
        a=Angle([1.0], ["x"], [0.0]), b=Angle([1.0], [], [0.0]), c=Angle([1.0], ["z"], [0.0])
    )
    pieces = seen(model, a=[[0.9]], b=[[-0.3]], c=None)
    why = explain(model, pieces, to_the_query, own_paths(model, pieces))
    a, b, both = math.cos(0.9), math.cos(0.3), math.cos(0.3)
    found = {share.modality: share for share in why.modalities}
    assert set(found) == {"a", "b"}  # the track lacks c
    assert found["a"].value == pytest.approx((a + both - b) / 2, abs=1e-5)
    assert found["b"].value == pytest.approx((b + both - a) / 2, abs=1e-5)
    assert (found["b"].base, found["b"].attributes) == (None, {})
    # With x at 0: alone at angle 0, with b halfway to its −0.3.
    assert found["a"].base == pytest.approx((1 + math.cos(0.15) - b) / 2, abs=1e-4)
    assert total(why) == pytest.approx(both, abs=1e-5)


def test_a_track_in_pieces_is_explained_by_their_mean() -> None:
    model = planted(a=Angle([1.0], ["x"], [0.0]), b=Angle([1.0], [], [0.0]))
    pieces = seen(model, a=[[0.4], [0.4]], b=[[0.2], [1.0]])
    why = explain(model, pieces, to_the_query, own_paths(model, pieces))
    with torch.no_grad():
        inputs = {
            "a": Modality(torch.tensor([[0.4], [0.4]]), torch.ones(2, dtype=torch.bool)),
            "b": Modality(torch.tensor([[0.2], [1.0]]), torch.ones(2, dtype=torch.bool)),
        }
        mean = model.predict(inputs).mean(0)
    assert total(why) == pytest.approx((mean[0] / mean.norm()).item(), abs=1e-5)


def test_attributes_go_through_the_nets_of_a_first_stage() -> None:
    head = planted(a=Embedding("stage"))
    nets = [
        planted(a=Angle([0.6, 0.0], ["x", "y"], [0.0, 0.0])),
        planted(a=Angle([0.5, 0.2], ["y", "x"], [0.0, 0.0])),  # it learnt its names otherwise
    ]
    read = [seen(nets[0], a=[[1.0, 0.4]]), seen(nets[1], a=[[0.4, 1.0]])]
    vectors = [
        net.predict({"a": Modality(p.values["a"], torch.ones(1, dtype=torch.bool))})
        for net, p in zip(nets, read, strict=True)
    ]
    pieces = seen(head, a=[torch.stack(vectors).mean(0)[0].tolist()])
    for what in ("factors", "embedding"):
        path = path_through(list(zip(nets, read, strict=True)), "a", what, head)
        why = explain(head, pieces, to_the_query, {"a": path})
        (share,) = why.modalities
        here = (0.6 + 0.2 + 0.2) / 2  # the mean of two unit vectors lies halfway
        assert share.value == pytest.approx(math.cos(here), abs=1e-5)
        assert share.base == pytest.approx(1, abs=1e-4)
        per_angle = (math.cos(here) - 1) / here
        assert share.attributes == {
            "x": pytest.approx((0.6 + 0.2) / 2 * per_angle, abs=1e-4),
            "y": pytest.approx(0.2 / 2 * per_angle, abs=1e-4),
        }


def test_too_many_modalities_are_refused() -> None:
    names = [f"m{i}" for i in range(11)]
    model = planted(**{name: Angle([1.0], [], [0.0]) for name in names})
    pieces = seen(model, **{name: [[0.1]] for name in names})
    with pytest.raises(InputError, match="11 modalities"):
        explain(model, pieces, to_the_query, {})


@pytest.fixture(scope="module", params=["1", "2"])
def run(
    request: pytest.FixtureRequest, tiny_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Attributes and genres, fitted in one stage and in two."""
    root = tmp_path_factory.mktemp(f"explain{request.param}")
    shutil.copytree(tiny_world.shards, root / "shards")
    data = [f"--data.shards={root / 'shards'}", f"--data.factors={tiny_world.factors}"]
    folds = ["--stage-folds=2"] if request.param == "2" else []
    args = ["fit", "--config=mgp_genres.yaml", f"--run={root / 'run'}", *data, *QUICK]
    assert main([*args, f"--stages={request.param}", *folds]) == 0
    return root / "run"


def check(found: list[Recommendation]) -> None:
    for row in found:
        assert row.why is not None
        assert row.why.by == "content"
        assert {share.modality for share in row.why.modalities} == {"mgp", "genres"}
        assert total(row.why) == pytest.approx(row.similarity, abs=1e-4)
        assert all(share.base is not None and share.attributes for share in row.why.modalities)


def test_what_is_said_adds_up_to_what_is_shown(
    run: Path, tiny_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    user = Factors.load(tiny_world.factors).user_ids[0]
    args = ["recommend", "--run", str(run), "--user", user, "--k=3", "--why"]
    capsys.readouterr()
    assert main([*args, "--placement=either"]) == 0
    _, _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    for row, why in zip(lines[::2], lines[1::2], strict=True):
        assert "base" in why
        signed = r"(\w+) ([+−]\d\.\d{3})"
        outer = re.findall(signed, re.sub(r"\(.*?\)", "", why))
        assert {name for name, _ in outer} == {"genres", "mgp"}
        added = sum(float(value.replace("−", "-")) for _, value in outer)
        (similarity,) = re.findall(r" (-?\d\.\d{3})", row)
        assert added == pytest.approx(float(similarity), abs=0.0021)
        for inside in re.findall(r"\w+ ([+−]\d\.\d{3}) \((.*?)\)", why):
            share, parts = inside
            listed = re.findall(r"[+−]\d\.\d{3}", parts)
            assert len(listed) <= 7
            numbers = [float(n.replace("−", "-")) for n in [share, *listed]]
            assert sum(numbers[1:]) == pytest.approx(numbers[0], abs=0.0045)


def test_attributes_are_followed_from_where_the_prediction_came_from(
    run: Path, tiny_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, asked = (
        set(),
        {t["track_id"]: t["split"] for t in Shards(tiny_world.shards).all_tracks()},
    )

    def spy(
        model: ColdStart, pieces: Pieces, similarity: Similarity, paths: Mapping[str, FeaturePath]
    ) -> Why:
        assert set(paths) == {"mgp", "genres"}
        for name, path in paths.items():
            torch.testing.assert_close(path.vectors(path.values[None])[0], pieces.encoded[name])
        return explain(model, pieces, similarity, paths)

    monkeypatch.setattr("coldstart.retrieval.why.explain", spy)
    like = Factors.load(tiny_world.factors).track_ids[0]
    for row in recommend(run=run, like=like, k=60, why=True):
        splits.add(asked[row.track_id])
    assert splits == {"train", "val", "test"}  # a training track's vector comes from one net


def test_json_says_everything(
    run: Path, tiny_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Factors.load(tiny_world.factors)
    args = ["recommend", "--run", str(run), "--like", made.track_ids[0], "--k=60", "--why"]
    capsys.readouterr()
    assert main([*args, "--candidates=all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    warm = {t for t, folded in zip(made.track_ids, made.folded, strict=True) if not folded}
    assert {row["why"]["by"] for row in rows} >= {"plays", "both"}
    for row in rows:
        why = row["why"]
        if row["track_id"] in warm:
            assert why == {"by": "plays", "modalities": [], "others": {}, "listeners": 0}
            continue
        added = sum(s["base"] + sum(s["attributes"].values()) for s in why["modalities"])
        added += sum(why["others"].values())
        assert added == pytest.approx(row["similarity"], abs=1e-4)
        assert ("plays" in why["others"]) == (why["by"] == "both") == (why["listeners"] > 0)


def test_python_gets_it_too_if_it_asks(run: Path, tiny_world: World) -> None:
    like = Factors.load(tiny_world.factors).track_ids[0]
    check(recommend(run=run, like=like, k=4, why=True, placement="either"))
    assert all(row.why is None for row in recommend(run=run, like=like, k=4))
    check(recommend(run=run, like=like, k=1, why=True, placement="either"))
    (row,) = recommend(run=run, like=like, k=1, candidates="warm", why=True)
    assert str(row.why) == "by its plays"


def test_sound_is_explained_as_a_whole_and_its_windows_by_their_mean(
    tiny_audio_run: Path, tiny_world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_audio_run, copy)
    like = Factors.load(tiny_world.factors).track_ids[0]
    for row in recommend(run=copy, like=like, k=3, why=True, placement="either"):
        assert row.why is not None
        (share,) = row.why.modalities
        assert (share.modality, share.base, share.attributes) == ("audio", None, {})
        assert share.value == pytest.approx(row.similarity, abs=1e-4)
    assert "note:" not in caplog.text
    assert main(["predict", "--run", str(copy), "--model.encoders.audio.trim=0.3"]) == 0
    recommend(run=copy, like=like, k=3, why=True)
    assert "was made with other settings" in caplog.text


HEADS: dict[str, Callable[[], FusionHead]] = {
    "Attention": lambda: cs.Attention(width=8, heads=2),
    "Concat": cs.Concat,
    "Gated": lambda: cs.Gated(width=8),
    "MeanLateFusion": cs.MeanLateFusion,
    "SharedBranch": lambda: cs.SharedBranch(hidden=(8,)),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_model_s_method_says_it_too_with_any_head_in_any_mode(
    head: str, tiny_world: World
) -> None:
    torch.manual_seed(0)
    encoders = {"mgp": cs.MGP(hidden=(8,)), "genres": cs.Genres(hidden=(4,))}
    model = cs.ColdStart(encoders, HEADS[head]())
    data = cs.ColdStartData(str(tiny_world.shards), str(tiny_world.factors))
    model.build(data.info)
    like = Factors.load(tiny_world.factors).track_ids[0]
    for training in (True, False):
        model.train(training)
        check(model.recommend(tiny_world.shards, tiny_world.factors, like=like, k=3, why=True))
        assert model.training is training
    (row,) = model.recommend(tiny_world.shards, tiny_world.factors, like=like, k=1)
    assert row.why is None


def test_a_sound_file_asks_a_model_of_sound_and_attributes(
    tiny_world: World, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    data = [f"--data.shards={tiny_world.shards}", f"--data.factors={tiny_world.factors}"]
    encoders = {"audio": {"class_path": "Audio"}, "mgp": {"class_path": "MGP"}}
    config = tmp_path / "both.yaml"
    config.write_text(json.dumps({"model": {"encoders": encoders}}))
    small = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
    args = ["fit", "--config=mgp.yaml", f"--config={config}", f"--run={run}", *data, *QUICK]
    assert main([*args, "--stages=1", "--data.workers=0", *small]) == 0
    file = next((tiny_world.catalogue / "audio").glob("*.flac"))
    for row in recommend(run=run, audio=str(file), k=2, why=True, placement="either"):
        assert row.why is not None
        found = {share.modality: share for share in row.why.modalities}
        assert found["audio"].base is None
        assert found["mgp"].attributes
        assert total(row.why) == pytest.approx(row.similarity, abs=1e-4)
