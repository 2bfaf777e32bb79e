"""The verb `neighbours`, on a planted world whose answers are known by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from helpers import World
from scipy.sparse import csr_matrix

import coldstart as cs
from coldstart.cli import main
from coldstart.encoders.attributes import MGP
from coldstart.factors.factors import Factors
from coldstart.reporting.text import width
from coldstart.retrieval.neighbours import Neighbours, Space
from coldstart.retrieval.popularity import head_plays, popularity_rank
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run

# Angle of the factors in degrees (None: nobody played it), plays, grades, split.
TRACKS: dict[str, tuple[float | None, int, tuple[float, ...] | None, str]] = {
    "a": (0, 50, (1.0, 0.0, 0.0), "train"),
    "b": (10, 30, (0.9, 0.1, 0.0), "train"),
    "c": (25, 10, (0.0, 1.0, 0.0), "train"),
    "d": (60, 5, None, "train"),
    "e": (90, 2, (0.0, 0.8, 0.3), "train"),
    "f": (180, 1, (0.0, 0.0, 1.0), "train"),
    "g": (200, 1, (0.2, 0.1, 0.9), "train"),
    "h": (5, 1, (0.5, 0.5, 0.5), "val"),
    "i": (120, 1, (1.0, 0.0, 0.0), "test"),
    "j": (None, 0, (0.0, 0.0, 1.0), "test"),
    "k": (None, 0, None, "test"),
}
TITLES = {"b": "日本語の歌 " * 6, "c": "A$AP $ong_{2}", "j": "Nobody's\nSong ♪ 日本語", "i": None}


class Planted(NamedTuple):
    run: Path
    root: Path


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    root = tmp_path_factory.mktemp("planted")
    made = {
        "track_id": list(TRACKS),
        "title": [TITLES.get(track, f"Title {track}") for track in TRACKS],
        "artist": [f"Artist {track}" for track in TRACKS],
        "genres": [["rock"] for _ in TRACKS],
    }
    splits = pl.DataFrame({"track_id": list(TRACKS), "split": [t[3] for t in TRACKS.values()]})
    grades = {track: t[2] for track, t in TRACKS.items() if t[2] is not None}
    columns = {f"x{i}": [row[i] for row in grades.values()] for i in range(3)}
    pl.DataFrame(made).write_parquet(root / "tracks.parquet")
    splits.write_parquet(root / "splits.parquet")
    pl.DataFrame({"track_id": list(grades), **columns}).write_parquet(root / "mgp.parquet")
    cs.shard(
        root / "tracks.parquet",
        out=root / "shards",
        splits=root / "splits.parquet",
        attributes={"mgp": str(root / "mgp.parquet")},
        workers=1,
    )
    played = {track: t for track, t in TRACKS.items() if t[0] is not None}
    angles = np.radians([t[0] or 0.0 for t in played.values()])
    plays = np.array([[t[1] for t in played.values()]], dtype=np.float32)
    Factors(
        track_ids=list(played),
        user_ids=["u"],
        tracks=(3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32),
        users=np.ones((1, 2), dtype=np.float32),
        folded=np.array([t[3] != "train" for t in played.values()]),
        split=np.array([t[3] for t in played.values()]),
        listens=csr_matrix(plays),
        about={
            "version": 1,
            "algorithm": "implicit",
            "factors": 2,
            "protocol": "strict cold start",
            "regularization": 0.1,
        },
    ).save(root / "factors")
    overrides: dict[str, Any] = {
        "data.shards": root / "shards",
        "data.factors": root / "factors",
        "trainer.max_epochs": 1,
        "trainer.enable_progress_bar": False,
    }
    return Planted(cs.fit("mgp.yaml", run=str(root / "run"), overrides=overrides), root)


def space(found: Neighbours, name: str) -> Space:
    (one,) = [space for space in found.spaces if space.name == name]
    return one


def ids(one: Space) -> list[str]:
    return [near.track.track_id for near in one.neighbours]


def test_cf_s_neighbours_are_those_at_the_smallest_angles(planted: Planted) -> None:
    cf = space(cs.neighbours(run=planted.run, like="a"), "CF")
    assert ids(cf) == ["h", "b", "c", "d", "e", "i", "g", "f"]
    assert [near.rank for near in cf.neighbours] == list(range(1, 9))
    expected = np.cos(np.radians([5, 10, 25, 60, 90, 120, 200, 180]))
    assert [near.similarity for near in cf.neighbours] == pytest.approx(expected, abs=1e-4)
    assert [near.track.track_id for near in cf.neighbours if near.track.cold] == ["h", "i"]
    assert (cf.candidates, list(cf.ranks_left_out)) == (8, [9, 10])


def test_attributes_are_centred_and_scaled_as_the_encoder_does(planted: Planted) -> None:
    mgp = space(cs.neighbours(run=planted.run, like="a"), "mgp")
    info = cs.Shards(planted.root / "shards").info("mgp")
    encoder = MGP(hidden=(2,))
    encoder.start(info)
    grades = {track: t[2] for track, t in TRACKS.items() if t[2] is not None}
    vectors = encoder.describe(torch.tensor(list(grades.values())))
    cosine = torch.cosine_similarity(vectors[:1], vectors)
    by_id = dict(zip(grades, cosine.tolist(), strict=True))
    assert {near.track.track_id: near.similarity for near in mgp.neighbours} == pytest.approx(
        {track: value for track, value in by_id.items() if track != "a"}, abs=1e-4
    )
    assert ids(mgp)[:2] == ["i", "b"]
    assert mgp.neighbours[0].similarity == 1


def test_predictions_are_compared_with_predictions(planted: Planted) -> None:
    predicted = space(cs.neighbours(run=planted.run, like="a"), "predicted")
    made = predictions_of(open_run(planted.run))
    row = {track: made.values[i] for i, track in enumerate(made.track_ids)}
    assert set(ids(predicted)) == set(row) - {"a"}
    for near in predicted.neighbours:
        cosine = torch.cosine_similarity(row["a"], row[near.track.track_id], dim=0)
        assert near.similarity == pytest.approx(float(cosine), abs=1e-4)
    order = [near.similarity for near in predicted.neighbours]
    assert order == sorted(order, reverse=True)


def test_equals_come_in_the_order_of_their_ids(planted: Planted) -> None:
    """i is a's double in attributes, so every track is as near to one as to the other."""
    j, f = (space(cs.neighbours(run=planted.run, like=t), "mgp") for t in "jf")
    assert ids(j)[0] == "f"
    assert ids(f)[0] == "j"
    assert ids(j)[1:] == ids(f)[1:]
    assert ids(j).index("a") + 1 == ids(j).index("i")


def test_a_track_that_nobody_played_has_a_place_by_content_only(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    found = cs.neighbours(run=planted.run, like="j")
    assert "nobody played it" in space(found, "CF").why_not
    assert ids(space(found, "mgp"))[0] == "f"
    assert space(found, "predicted").neighbours
    assert "No neighbours: nobody played it" in capsys.readouterr().out


def test_a_track_without_attributes_has_a_place_by_plays_only(planted: Planted) -> None:
    found = cs.neighbours(run=planted.run, like="d")
    assert ids(space(found, "CF"))[:2] == ["e", "c"]
    assert space(found, "mgp").why_not == "it has no 'mgp'"
    assert "none of what the model reads (mgp)" in space(found, "predicted").why_not


def test_attributes_that_are_not_there_are_said_to_be_missing(planted: Planted) -> None:
    for name, reason in (("mlg", "have: genres, mgp"), ("genres", "no table of attributes")):
        found = cs.neighbours(run=planted.run, like="a", attributes=name)
        assert reason in space(found, name).why_not
        assert space(found, "CF").neighbours


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--like", "k"], ["no neighbours", "nobody played it", "it has no 'mgp'"]),
        (["--like", "Title  e"], ["no track 'Title  e'", "e (Title e)"]),
        (["--like", "zzz"], ["no track 'zzz'; none comes close"]),
        (["--like", "a", "--ranks", "1,x"], ["'1,x' is no list of ranks"]),
        (["--like", "a", "--ranks", "0,1"], ["at least 1"]),
        (["--like", "a", "--k", "0"], ["at least 1"]),
        (["--like", "a", "--picture", "x.jpg"], [".jpg", ".png, .svg, .pdf"]),
    ],
)
def test_neighbours_say_what_is_wrong(
    args: list[str], parts: list[str], planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["neighbours", "--run", str(planted.run), *args]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in parts), error
    assert "Traceback" not in error


@pytest.mark.parametrize("ranks", ["1,3,7,99", "[1, 3, 7, 99]", [7, 99, 1, 3], (1, 1, 3, 7, 99)])
def test_chosen_ranks_are_those_of_the_whole_order(
    ranks: str | Sequence[int], planted: Planted
) -> None:
    cf = space(cs.neighbours(run=planted.run, like="a", ranks=ranks), "CF")
    assert [(near.rank, near.track.track_id) for near in cf.neighbours] == [
        (1, "h"),
        (3, "c"),
        (7, "g"),
    ]
    assert list(cf.ranks_left_out) == [99]


def shown(capsys: pytest.CaptureFixture[str], planted: Planted, *args: str) -> str:
    capsys.readouterr()
    assert main(["neighbours", "--run", str(planted.run), *args]) == 0
    return capsys.readouterr().out


def test_text_and_json_say_the_same(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--like", "a", "--ranks", "1,2,3,7,8,99")
    text, plain = shown(capsys, planted, *args), shown(capsys, planted, *args, "--json")
    made = json.loads(plain)
    assert made["query"]["title"] == "Title a"
    assert made["spaces"][0]["ranks_left_out"] == [99]
    assert "there is no rank beyond 8" in text
    for one in made["spaces"]:
        share = one["in_long_tail"] / len(one["neighbours"])
        assert f"median popularity rank {one['median_popularity_rank']:g}" in text
        assert f"{share:.0%} of these" in text
        for near in one["neighbours"]:
            assert (near["title"].split() or [near["track_id"]])[0][:4] in text
            plays = f"{near['plays']} play{'s' * (near['plays'] != 1)}"
            tail = "  tail" * near["long_tail"]
            numbers = f"{plays}  no. {near['popularity_rank']}{tail}"
            assert f"{near['similarity']:6.3f}  {numbers}" in text
    assert "Title h – Artist h*" in text


def test_the_table_fits_a_terminal_in_any_script(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, planted, "--like", "j", "--ranks", "1,2,8")
    assert "Nobody's Song ♪ 日本語 – Artist j* (j)" in text
    wide = [line for line in shown(capsys, planted, "--like", "c").splitlines() if "日本語" in line]
    assert wide
    assert max(width(line) for line in [*text.splitlines(), *wide]) <= 120


def test_popularity_by_hand(planted: Planted) -> None:
    """101 plays: a and b have 80, c makes it 90, so the head is a, b and c."""
    found = cs.neighbours(run=planted.run, like="j", k=3)
    assert (found.tracks, found.long_tail) == (11, 8)
    assert found.query.popularity_rank == 10  # j and k share the last place
    assert found.query.played_more == 9 / 11
    assert (found.query.plays, found.query.long_tail, found.query.cold) == (0, True, True)
    everyone = space(cs.neighbours(run=planted.run, like="a"), "CF")
    by_id = {near.track.track_id: near.track for near in everyone.neighbours}
    ranks = {track: by_id[track].popularity_rank for track in "bcdefghi"}
    assert ranks == {"b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 6, "h": 6, "i": 6}
    assert {track for track in by_id if not by_id[track].long_tail} == {"b", "c"}
    assert (everyone.in_long_tail, everyone.candidates_in_long_tail) == (6, 6)
    assert everyone.median_rank == 5.5


def test_the_head_takes_in_all_of_equal_tracks() -> None:
    assert head_plays(np.array([4.0, 4.0, 2.0])) == 4
    assert head_plays(np.array([4.0, 3.0, 3.0, 3.0])) == 3
    assert head_plays(np.zeros(3)) == 0
    assert popularity_rank(np.array([0.0, 7.0, 7.0])).tolist() == [3, 1, 1]


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("b.svg", b"<?xml"), ("c.PDF", b"%PDF")]
)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("like", ["c", "j"])
def test_the_picture_is_of_the_format_that_its_name_says(
    name: str, begins: bytes, like: str, planted: Planted, tmp_path: Path
) -> None:
    """c's title looks like TeX, and j's has letters that the font lacks."""
    from coldstart.reporting.pictures import popularity_curve

    plays = np.array([5.0, 9.0, 0.0, 5.0])
    title = TITLES[like] or ""
    popularity_curve(
        tmp_path / name,
        plays,
        popularity_rank(plays),
        2,
        {"CF": [], "m_$g$p$": [0, 1]},
        title=title,
        head=3,
    )
    content = (tmp_path / name).read_bytes()
    assert content.startswith(begins)
    assert len(content) > 5000
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_the_verb_draws_a_picture(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "new" / "tail.svg"
    assert f"wrote {picture}" in shown(capsys, planted, "--like", "j", "--picture", str(picture))
    assert b"</svg>" in picture.read_bytes()


def test_attributes_are_those_of_the_shards_whatever_the_model_reads(
    tiny_audio_run: Path, tiny_world: World
) -> None:
    """Here it hears, and reads none."""
    track = cs.Shards(tiny_world.shards).all_tracks(["test"])[0]["track_id"]
    found = cs.neighbours(run=tiny_audio_run, like=track, k=5)
    assert found.query.cold
    assert len(space(found, "mgp").neighbours) == len(space(found, "predicted").neighbours) == 5
    assert found.tracks == space(found, "mgp").candidates + 1 == 60
