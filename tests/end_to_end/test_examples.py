"""The examples, run as their READMEs say, on files in the original format."""

import itertools
import json
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from helpers import ROOT, World
from torch import Tensor

from coldstart.cli import main
from coldstart.commands.recommend import recommend
from coldstart.commands.shard import shard
from coldstart.errors import InputError

LASTFM = ROOT / "examples" / "lastfm"


def commands(readme: Path) -> list[list[str]]:
    """The commands of a README's code blocks, as lists of words."""
    blocks = re.findall(r"```\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line.split() for line in lines if line]


def write_hetrec(folder: Path) -> None:
    """A few artists in the format of the original files."""
    folder.mkdir()
    artists = [f"{i}\tArtist “{i}”\thttp://x/{i}\thttp://y/{i}" for i in range(1, 41)]
    listens = [f"{u}\t{a}\t{10 * u + a}" for u in range(1, 31) for a in range(1, 41) if (u + a) % 3]
    tagged = [f"1\t{a}\t{t}\t1\t4\t2009" for a in range(1, 41) for t in (a % 7, a % 5 + 7)]
    genres = [f"{a}\tGenre_{a % 4}" for a in range(1, 36)]
    files = {
        "artists.dat": ["id\tname\turl\tpictureURL", *artists],
        "user_artists.dat": ["userID\tartistID\tweight", *listens],
        "user_taggedartists.dat": ["userID\tartistID\ttagID\tday\tmonth\tyear", *tagged],
        "tags.dat": ["tagID\ttagValue", *[f'{t}\ttag "{t}' for t in range(12)]],
        "artist_genres.tsv": ["artistID\tgenre", *genres],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def follow(readme: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for words in commands(readme):
        assert words[0] == "coldstart"
        assert main(words[1:]) == 0, words


def test_the_lastfm_example_runs_as_its_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_hetrec(tmp_path / "hetrec")
    follow(LASTFM / "README.md", tmp_path, monkeypatch)
    assert json.loads((tmp_path / "runs/kernel/results.json").read_text())["candidates"] == 4
    assert "Artist “" in capsys.readouterr().out


def test_real_lastfm_gives_the_published_figures(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hetrec").symlink_to(shared_data / "lastfm")
    follow(LASTFM / "README.md", tmp_path, monkeypatch)
    assert len(pl.read_parquet(tmp_path / "tables" / "tracks.parquet")) == 2818
    results = json.loads((tmp_path / "runs/kernel/results.json").read_text())
    rows = {row["method"].split(" (")[0]: row for row in results["rows"]}
    assert results["candidates"] == 282
    assert results["users"] == 1690
    assert rows["random"]["recall"] == pytest.approx(0.071, abs=0.005)
    assert rows["random"]["ndcg"] == pytest.approx(0.036, abs=0.005)
    assert rows["ridge"]["ndcg"] == pytest.approx(0.525, abs=0.01)
    assert rows["coldstart"]["ndcg"] == pytest.approx(0.539, abs=0.01)
    assert rows["shuffled content"]["ndcg"] < 0.05


def test_all_real_audio_goes_through_shard_predict_and_recommend(
    shared_data: Path, tmp_path: Path, tiny_audio_run: Path
) -> None:
    table = shared_data / "audio" / "tracks.csv"
    shards = tmp_path / "shards"
    shard(table, out=shards, sample_rate=8000, workers=1, skip_broken=True)
    # One of the 33 files is silent from end to end, and is said to be.
    (broken,) = pl.read_csv(shards / "broken.csv").iter_rows(named=True)
    assert broken["item"] == "track 'odisea_carnavalera'"
    assert "silent" in broken["reason"]
    run = str(tiny_audio_run)
    elsewhere = ["--data.shards", str(shards), "--data.factors", "null"]
    out = ["--trainer.default_root_dir", str(tmp_path / "predicted")]
    assert main(["predict", "--run", run, *elsewhere, *out]) == 0
    made = pl.read_parquet(tmp_path / "predicted" / "predictions" / "tracks.parquet")
    assert len(made) == 32
    for audio in pl.read_csv(table)["audio"]:
        path = table.parent / audio
        if audio == "odisea_carnavalera.mp3":
            with pytest.raises(InputError, match="silent"):
                recommend(run=run, audio=str(path))
        else:
            assert len(recommend(run=run, audio=str(path), k=3)) == 3


def test_pretrained_vectors_become_a_modality_as_the_readme_says(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the one net that needs no download; one file is broken, and one run was stopped."""
    readme = ROOT / "examples" / "embeddings" / "README.md"
    tracks = pl.read_parquet(tiny_world.catalogue / "tracks.parquet")
    (tmp_path / "audio").mkdir()
    for file in (tiny_world.catalogue / "audio").iterdir():
        (tmp_path / "audio" / file.name).symlink_to(file)
    first = tmp_path / tracks["audio"][0]
    whole = first.readlink()
    first.unlink()
    first.write_bytes(b"no sound")
    tracks.write_parquet(tmp_path / "tracks.parquet")
    shutil.copytree(tiny_world.shards, tmp_path / "shards")
    (tmp_path / "factors").symlink_to(tiny_world.factors)
    (text,) = re.findall(r"<!-- mert.yaml -->\n```yaml\n(.*?)```", readme.read_text(), re.DOTALL)
    (tmp_path / "mert.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    words, *rest = commands(readme)
    compute = runpy.run_path(str(readme.parent / words[1]))
    rate, load = compute["NETS"]["mfcc"]
    heard = itertools.count()

    def stopped() -> Callable[[Tensor], Tensor]:
        net: Callable[[Tensor], Tensor] = load()

        def until(sound: Tensor) -> Tensor:
            if next(heard) == 40:
                raise KeyboardInterrupt
            return net(sound)

        return until

    monkeypatch.setitem(compute["NETS"], "mfcc", (rate, stopped))
    with pytest.raises(KeyboardInterrupt):
        compute["compute"](Path(words[2]), Path(words[3]), "mfcc", each=7)
    assert list(Path("mert.parquet.parts").iterdir())
    compute["compute"](Path(words[2]), Path(words[3]), "mfcc")
    made = pl.read_parquet(words[3])
    assert made["track_id"].to_list() == tracks["track_id"][1:].to_list()
    assert made["vector"].list.len().unique().to_list() == [40]
    assert "not audio" in Path("mert.parquet.broken.csv").read_text()
    assert not Path("mert.parquet.parts").exists()
    first.unlink()
    first.symlink_to(whole)
    more = {"fit": ["--trainer.max_epochs=2"]}
    for words in rest:
        assert main([*words[1:], *more.get(words[1], [])]) == 0, words
