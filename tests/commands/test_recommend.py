"""The verb `recommend`: like a track, for a user, for a file."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from helpers import Fitted

import coldstart
from coldstart.cli import main
from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards


def recommended(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["recommend", *args, "--json"]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_recommend_like_a_track_names_cold_tracks_best_first(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Factors.load(mgp_genres.world.factors)
    warm = {t for t, folded in zip(made.track_ids, made.folded, strict=True) if not folded}
    rows = recommended(
        capsys, "--run", str(mgp_genres.run), "--like", made.track_ids[0], "--k", "4"
    )
    similarities = [row["similarity"] for row in rows]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert similarities == sorted(similarities, reverse=True)  # type: ignore[type-var]
    assert not {row["track_id"] for row in rows} & warm
    assert set(rows[0]) == {"rank", "track_id", "title", "artist", "plays", "similarity", "by"}


def test_recommend_for_a_user_leaves_out_all_that_they_have_played(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held-out tracks too: a listener has heard them, whatever the factorisation was shown."""
    made = Factors.load(mgp_genres.world.factors)
    users = [
        row for row in range(len(made.user_ids)) if made.folded[made.listens[row].indices].any()
    ]
    assert users
    user = made.user_ids[users[0]]
    played = {made.track_ids[i] for i in made.listens[users[0]].indices}
    args = ["--run", str(mgp_genres.run), "--user", user, "--k", "100"]
    for candidates in ("cold", "all"):
        rows = recommended(capsys, *args, "--candidates", candidates)
        assert rows
        assert not {row["track_id"] for row in rows} & played
    model = coldstart.load(mgp_genres.run)
    found = model.recommend(mgp_genres.world.shards, mgp_genres.world.factors, user=user, k=100)
    assert not {row.track_id for row in found} & played


def test_recommend_for_a_file_that_is_in_no_dataset(
    audio: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next((audio.world.catalogue / "audio").glob("*.flac"))
    copy = tmp_path / "a demo (final) é.flac"
    shutil.copy(source, copy)
    by_file = recommended(capsys, "--run", str(audio.run), "--audio", str(copy), "--k", "60")
    assert len(by_file) >= 6


def test_a_file_sounds_like_itself(audio: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    made = Factors.load(audio.world.factors)
    cold = next(
        t["track_id"]
        for t in Shards(audio.world.shards).all_tracks(["test"])
        if t["track_id"] in made.row or True
    )
    path = audio.world.catalogue / "audio" / f"{cold}.flac"
    args = ["--run", str(audio.run), "--audio", str(path), "--k", "3", "--placement", "either"]
    rows = recommended(capsys, *args)
    assert rows[0]["track_id"] == cold
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name one query"),
        (["--like", "a", "--user", "b"], "name one query"),
        (["--like", "no such track"], "no track 'no such track'"),
        (["--user", "nobody"], "no user 'nobody'"),
        (["--audio", "x.flac"], "hears nothing"),
    ],
)
def test_recommend_says_what_is_wrong(
    args: list[str], message: str, mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", "--run", str(mgp_genres.run), *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_track_without_any_input_gets_no_answer_and_is_none(
    audio: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pl.read_parquet(audio.world.catalogue / "tracks.parquet").head(4)
    paths = [str(audio.world.catalogue / path) for path in table["audio"]]
    paths[1] = None  # type: ignore[call-overload]
    table.with_columns(audio=pl.Series(paths)).write_parquet(tmp_path / "tracks.parquet")
    shards = tmp_path / "more"
    made_from = tmp_path / "tracks.parquet"
    splits = audio.world.splits
    coldstart.shard(made_from, out=shards, splits=splits, sample_rate=8000, workers=1)
    silent = table["track_id"][1]
    where = ["--run", str(audio.run), "--shards", str(shards)]
    found = recommended(capsys, *where, "--like", table["track_id"][0], "--candidates", "all")
    warm = set(Factors.load(audio.world.factors).track_ids)
    assert silent in warm or silent not in {row["track_id"] for row in found}
    before = (audio.run / "predictions").exists()
    other = ["--data.shards", str(shards), "--data.factors", "null"]
    assert main(["predict", "--run", str(audio.run), *other]) == 0
    assert "1 tracks have none of the model's inputs" in capsys.readouterr().err
    assert (audio.run / "predictions").exists() == before
    made = pl.read_parquet(audio.run / "predictions_more" / "tracks.parquet")
    assert silent not in made["track_id"]
    assert len(made) == 3


def test_several_tracks_lists_and_files(
    mgp_genres: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, ids = str(mgp_genres.run), Factors.load(mgp_genres.world.factors).track_ids
    several = recommended(capsys, "--run", run, "--like", ids[0], "--like", ids[1])
    assert [row["track_id"] for row in several] == [
        row.track_id for row in coldstart.recommend(run=run, like=[ids[0], ids[1]])
    ]
    by_id = recommended(capsys, "--run", run, "--liked", ids[0], "--liked", ids[1])
    pl.DataFrame({"track_id": ids[:2]}).write_csv(tmp_path / "liked.csv")
    by_file = recommended(capsys, "--run", run, "--liked", str(tmp_path / "liked.csv"))
    assert by_file == by_id != several
    (tmp_path / "few.txt").write_text(f"{several[0]['track_id']}\n{several[3]['track_id']}\n")
    few = str(tmp_path / "few.txt")
    only = recommended(capsys, "--run", run, "--like", ids[0], "--candidates", few)
    assert len(only) == 2
    without = recommended(capsys, "--run", run, "--like", ids[0], "--exclude", few)
    assert not {row["track_id"] for row in only} & {row["track_id"] for row in without}


def test_everybody_at_once(
    mgp_genres: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "recs.parquet"
    args = ["recommend", "--run", str(mgp_genres.run), "--users", "all", "--k", "3"]
    assert main([*args, "--out", str(out), "--candidates", "all", "--new-share", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {out}: " in printed
    assert pl.read_parquet(out).filter(pl.col("by") == "content")["rank"].unique().to_list() == [2]
    assert main(args) == 2
    assert "--users and --out belong together" in capsys.readouterr().err
    pl.DataFrame({"user_id": ["nobody", "u00001"]}).write_csv(tmp_path / "users.csv")
    args = ["recommend", "--run", str(mgp_genres.run), "--users", str(tmp_path / "users.csv")]
    assert main([*args, "--out", str(tmp_path / "few.csv")]) == 0
    assert "1 users have none; the reasons are in" in capsys.readouterr().out
