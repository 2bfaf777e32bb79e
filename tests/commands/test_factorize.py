import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import Log, cosines, made_from, vectors

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.errors import InputError
from coldstart.tables.listens import read_listens
from coldstart.tables.splits import read_splits

ALGORITHMS = ["implicit", "explicit"]
CHANGES = ["deleted", "multiplied", "given to everybody", "played by new listeners too"]
plays = pl.col("plays")


def change(log: pl.DataFrame, held: list[str], how: str) -> pl.DataFrame:
    is_held = pl.col("track_id").is_in(held)
    first_user, rest = log["user_id"].min(), log.filter(~is_held)
    if how == "deleted":
        return rest
    if how == "multiplied":
        return log.with_columns(pl.when(is_held).then(plays * 9).otherwise(plays))
    if how == "given to everybody":
        everybody = (
            log.select("user_id").unique().join(pl.DataFrame({"track_id": held}), how="cross")
        )
        return pl.concat([rest, everybody.with_columns(plays=pl.lit(5, log.schema["plays"]))])
    new = log.filter(is_held).with_columns(user_id=pl.concat_str(pl.lit("0"), "user_id"))
    assert max(new["user_id"]) < first_user  # they come first in the matrix
    return pl.concat([log, new])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("how", CHANGES)
def test_held_out_plays_never_reach_the_factorised_vectors(
    tiny_log: Log, tmp_path: Path, algorithm: str, how: str
) -> None:
    log, splits, held = tiny_log
    options: dict[str, Any] = {"splits": splits, "algorithm": algorithm}
    before = vectors(made_from(tmp_path / "a", log, **options))
    after = vectors(made_from(tmp_path / "b", change(log, held, how), **options))
    assert len(before["tracks"]) > 30
    assert before["tracks"] == after["tracks"]
    assert before["users"] == after["users"]
    assert set(before["folded"]) <= set(held)
    if how in ("multiplied", "given to everybody"):
        # Explicit ratings that are all multiplied are other ratings, too.
        assert all(after["folded"][t] != v for t, v in before["folded"].items())
    if how == "deleted":
        assert not after["folded"]


def test_a_listener_of_held_out_tracks_alone_has_no_vector(tiny_log: Log, tmp_path: Path) -> None:
    log, splits, held = tiny_log
    alone = pl.DataFrame({"user_id": ["alone"], "track_id": held[:1], "plays": [3]}, log.schema)
    made = made_from(tmp_path, pl.concat([log, alone]), splits)
    assert not made.users[made.user_ids.index("alone")].any()
    assert made.about["users_without_training_listens"] == 1


@pytest.mark.parametrize(("strict", "protocol"), [(True, "strict cold start"), (False, "talk: ")])
def test_the_protocol_is_marked(tiny_log: Log, tmp_path: Path, strict: bool, protocol: str) -> None:
    log, splits, held = tiny_log
    made = made_from(tmp_path, log, splits, strict=strict)
    assert made.about["protocol"].startswith(protocol)
    assert {t for t, folded in zip(made.track_ids, made.folded, strict=True) if folded} == (
        set(held) & set(log["track_id"]) if strict else set()
    )
    sides = dict(read_splits(splits).iter_rows())
    assert made.split.tolist() == [sides[track] for track in made.track_ids]


def test_without_strictness_held_out_plays_shape_the_users(tiny_log: Log, tmp_path: Path) -> None:
    log, splits, held = tiny_log
    before = made_from(tmp_path / "a", log, splits, strict=False)
    after = made_from(tmp_path / "b", change(log, held, "multiplied"), splits, strict=False)
    assert not np.allclose(before.users, after.users)


def test_without_splits_everything_is_factorised(tiny_log: Log, tmp_path: Path) -> None:
    made = made_from(tmp_path, tiny_log[0], None)
    assert made.about["protocol"] == "everything factorised, no split given"
    assert set(made.split) == {""}
    assert not made.folded.any()


def test_listens_of_unlisted_tracks_are_counted_and_left_out(
    tiny_log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, splits, _ = tiny_log
    user = log["user_id"][0]
    extra = pl.DataFrame(
        {"user_id": [user, "new"], "track_id": ["new", "new"], "plays": [3, 4]}, log.schema
    )
    before = made_from(tmp_path / "a", log, splits)
    after = made_from(tmp_path / "b", pl.concat([log, extra]), splits)
    assert after.about["listens_of_unknown_tracks"] == 2
    assert "left out 2 listens of tracks that the splits don't list" in capsys.readouterr().out
    assert vectors(before) == vectors(after)


def test_splits_of_other_tracks_are_refused(tiny_log: Log, tmp_path: Path) -> None:
    log, _, _ = tiny_log
    (tmp_path / "s.csv").write_text("track_id,split\nx,train\n")
    with pytest.raises(InputError, match="no listen is of a track that"):
        made_from(tmp_path, log, tmp_path / "s.csv")
    (tmp_path / "s.csv").write_text(f"track_id,split\n{log['track_id'][0]},test\n")
    with pytest.raises(InputError, match="no training track was played"):
        made_from(tmp_path, log, tmp_path / "s.csv")


@pytest.mark.parametrize(
    "option", [{"factors": 0}, {"iterations": 0}, {"regularization": -1.0}, {"alpha": 0.0}]
)
def test_options_out_of_range_are_refused(
    tiny_log: Log, tmp_path: Path, option: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="at least 1"):
        made_from(tmp_path, tiny_log[0], None, **option)


def test_real_listeners_of_one_genre_lie_together(shared_data: Path, tmp_path: Path) -> None:
    # Last.fm artists stand for tracks. Neighbours share a genre more often than chance has it.
    table = pl.read_csv(shared_data / "lastfm" / "user_artists.dat", separator="\t")
    table.columns = ["user_id", "track_id", "plays"]
    table.write_csv(tmp_path / "listens.csv")
    made = factorize(tmp_path / "listens.csv", out=tmp_path / "out", factors=16, iterations=5)
    assert made.listens.shape == (1892, 17632)
    assert made.listens.sum() == read_listens(tmp_path / "listens.csv")["plays"].sum()
    genres: dict[str, set[str]] = {}
    for line in (shared_data / "lastfm" / "artist_genres.tsv").read_text().splitlines()[1:]:
        artist, genre = line.split("\t")[:2]
        genres.setdefault(artist, set()).add(genre)
    order = np.argsort(-made.plays)[:2000]
    popular = np.array([row for row in order if made.track_ids[row] in genres])
    near = cosines(made.tracks[popular], made.tracks[popular])
    np.fill_diagonal(near, -2)
    names = [genres[made.track_ids[row]] for row in popular]
    alike = np.mean([bool(names[i] & names[j]) for i, j in enumerate(near.argmax(1))])
    shuffled = np.random.default_rng(0).permutation(len(names))
    chance = np.mean([bool(a & names[j]) for a, j in zip(names, shuffled, strict=True)])
    assert alike > 2 * chance


def test_an_event_log_with_other_names_is_factorised_like_its_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = pl.DataFrame(
        [("u", "01", 2), ("u", "2", 1), ("v", "01", 1), ("w", "2", 3)],
        ["user_id", "track_id", "plays"],
        orient="row",
    )
    counts.write_csv(tmp_path / "counts.csv")
    plays_of_each = counts.select("user_id", "track_id", pl.col("plays").repeat_by("plays"))
    events = plays_of_each.explode("plays").select(uid="user_id", song="track_id", ms_played=31_000)
    short = pl.DataFrame({"uid": ["u"], "song": ["09"], "ms_played": [29_999]})
    pl.concat([events, short.cast(events.schema)]).write_csv(
        tmp_path / "events.tsv", separator="\t"
    )
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    small = ["--factors", "2", "--iterations", "2"]
    assert main(["factorize", str(tmp_path / "counts.csv"), "--out", a, *small]) == 0
    names = ["--columns", "user_id=uid,track_id=song", "--min-seconds", "30"]
    assert main(["factorize", str(tmp_path / "events.tsv"), "--out", b, *small, *names]) == 0
    said = capsys.readouterr().err
    assert "left out 1 of 8 rows: plays of less than 30 seconds" in said
    assert "7 rows, 4 pairs of user and track" in said
    for file in Path(a).iterdir():
        if file.name != "factors.json":
            assert file.read_bytes() == (Path(b) / file.name).read_bytes()
    about = [json.loads((Path(folder) / "factors.json").read_text()) for folder in (a, b)]
    assert about[1] == {**about[0], "min_seconds": 30.0}
    refusal = ["--columns", "user_id=uid,track_id=song,plays=ms_played"]
    assert main(["factorize", str(tmp_path / "events.tsv"), "--out", b, *small, *refusal]) == 2
    said = capsys.readouterr().err
    assert "'ms_played' is called like a duration" in said
    assert "plays=ms_played" not in said
