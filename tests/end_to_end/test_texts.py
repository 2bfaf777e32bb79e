"""Texts without a plugin: the page's commands, on tracks whose words alone tell who plays them."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import ROOT

from coldstart.cli import main
from coldstart.commands.recommend import recommend
from coldstart.encoders.text import Text
from coldstart.runs.run import open_run

TOPICS, WORDS = 6, 8


def planted_tables(folder: Path, tracks: int = 180, users: int = 60, seed: int = 0) -> list[str]:
    """Each track has a topic and words of it, and common words; each listener plays one topic.

    Every tenth track has no text. Returns the tracks' topics, as names.
    """
    generator = np.random.default_rng(seed)
    topic = generator.integers(0, TOPICS, tracks)
    ids = [f"t{i:05d}" for i in range(tracks)]
    lyrics = [
        " ".join(
            [f"Topic{each}word{n}" for n in generator.integers(0, WORDS, 10)]
            + [f"common{n}" for n in generator.integers(0, 5, 20)]
        )
        for each in topic
    ]
    plays = generator.random((users, tracks)) < np.where(
        np.arange(users)[:, None] % TOPICS == topic, 0.5, 0.02
    )
    user, track = np.nonzero(plays)
    listens = {
        "user_id": [f"u{i:05d}" for i in user],
        "track_id": [ids[i] for i in track],
        "plays": generator.integers(1, 9, len(user)),
    }
    artists = [f"artist {i}" for i in range(tracks)]
    about = {"track_id": ids, "title": [f"song {i}" for i in ids], "artist": artists}
    texts = {"track_id": ids, "text": [t if i % 10 else "" for i, t in enumerate(lyrics)]}
    for name, table in (("tracks", about), ("listens", listens), ("lyrics", texts)):
        pl.DataFrame(table).write_parquet(folder / f"{name}.parquet")
    return [f"topic{each}" for each in topic]


def test_the_page_s_commands_rank_by_words_and_say_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = planted_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"### Texts\n.*?```\n(.*?)```.*?```yaml\n(.*?)```", page, re.DOTALL)
    commands, config = section
    Path("lyrics.yaml").write_text(config, encoding="utf-8")
    before = (
        "coldstart split tracks.parquet --fractions 0.6,0.2,0.2 --out splits.parquet\n"
        "coldstart factorize listens.parquet --splits splits.parquet --factors 8 --out factors\n"
    )
    for line in (before + commands).strip().splitlines():
        assert main(line.split()[1:]) == 0, line
    shown = capsys.readouterr().out
    assert "lyrics: 162 of 180 tracks have it" in shown
    assert re.search(r"\n +lyrics \+.*, topic0word\d \+", shown)

    results = json.loads(Path("runs/lyrics/results.json").read_text(encoding="utf-8"))
    ndcg = {row["method"].split(" (")[0]: row["ndcg"] for row in results["rows"]}
    assert ndcg["coldstart"] > ndcg["random"] + 0.2
    assert ndcg["coldstart"] > ndcg["shuffled content"] + 0.2
    encoder = open_run("runs/lyrics").model.encoders["lyrics"]
    assert isinstance(encoder, Text)
    splits = dict(pl.read_parquet("splits.parquet").iter_rows())
    train = [t for t in pl.read_parquet("lyrics.parquet").iter_rows() if splits[t[0]] == "train"]
    heard = {word for _, text in train for word in text.casefold().split()}
    assert set(encoder.feature_names()) <= heard

    found = recommend(run="runs/lyrics", user="u00001", k=5)
    assert [topics[int(one.track_id[1:])] for one in found].count("topic1") >= 4
