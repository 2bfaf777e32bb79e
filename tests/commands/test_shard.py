"""Tables with names of their own, and in parts."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import coldstart as cs
from coldstart.cli import main
from coldstart.commands.shard import shard
from coldstart.errors import InputError

IDS = [f"{number:03d}" for number in range(6)]
TRACKS = pl.DataFrame(
    {"track_id": IDS, "title": IDS, "artist": ["x", "y"] * 3, "genres": ["rock|pop", "jazz"] * 3}
)
GRADES = pl.DataFrame({"track_id": IDS, "calm": [0.1, 0.5, 0.2, 0.9, 0.4, 0.3]})
TEXTS = pl.DataFrame({"track_id": IDS, "text": [f"words {i}" for i in IDS]})


def contents(dataset: cs.Shards) -> dict[str, bytes]:
    """All that was written, but where each modality came from."""
    files = {
        str(path.relative_to(dataset.folder)): path.read_bytes()
        for path in sorted(Path(dataset.folder).rglob("*"))
        if path.suffix in (".tar", ".json") and path.name != "dataset.json"
    }
    assert len(files) >= 4
    return files


def tables(folder: Path) -> dict[str, Any]:
    """The plain tables, as arguments."""
    folder.mkdir()
    TRACKS.write_csv(folder / "tracks.csv")
    GRADES.write_csv(folder / "grades.csv")
    TEXTS.write_csv(folder / "texts.csv")
    return {
        "tracks": folder / "tracks.csv",
        "attributes": {"mgp": str(folder / "grades.csv")},
        "texts": {"lyrics": str(folder / "texts.csv")},
    }


def test_tables_with_other_names_and_in_parts_give_the_same_shards(tmp_path: Path) -> None:
    plain = shard(**tables(tmp_path / "plain"), out=tmp_path / "a", workers=1)
    for name, table in (("tracks", TRACKS), ("grades", GRADES)):
        (tmp_path / name).mkdir()
        renamed = table.rename({"track_id": "song"})
        renamed[:4].write_csv(tmp_path / name / "part-0.csv", separator=";")
        renamed[4:].write_csv(tmp_path / name / "part-1.csv", separator=";")
    # This one calls its ids as they are read.
    TEXTS.rename({"text": "lyrics"}).write_parquet(tmp_path / "texts.parquet")
    split = str(tmp_path / "splits.csv")
    columns = ["--columns", "track_id=song"]
    assert main(["split", str(tmp_path / "tracks"), "--out", split, *columns]) == 0
    assert pl.read_csv(split, infer_schema=False)["track_id"].to_list() == IDS
    arguments = [
        *("shard", str(tmp_path / "tracks"), "--out", str(tmp_path / "b"), "--workers", "1"),
        *("--attributes.mgp", str(tmp_path / "grades")),
        *("--texts.lyrics", str(tmp_path / "texts.parquet")),
        *("--columns", "track_id=song,text=lyrics"),
    ]
    assert main(arguments) == 0
    other = cs.Shards(tmp_path / "b")
    assert contents(other) == contents(plain)
    assert main(arguments) == 0  # again, from the same source
    source = json.loads((tmp_path / "b" / "dataset.json").read_text())["modalities"]["mgp"][
        "source"
    ]
    assert cs.Shards(tmp_path / "b").modalities["mgp"]["source"] == source


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("title=name", "tracks.csv: columns: there is no column 'name', which is to be 'title'"),
        ("plays=cnt", "'plays' is none of the columns that are read here: track_id, title"),
        ("path=file", "'path' is of --files.NAME, which isn't given"),
        ("text=words", "texts.csv: columns: there is no column 'words', which is to be 'text'"),
    ],
)
def test_a_name_that_no_table_has_is_refused(tmp_path: Path, columns: str, message: str) -> None:
    arguments = tables(tmp_path / "plain")
    with pytest.raises(InputError, match=message):
        shard(**arguments, out=tmp_path / "a", columns=columns, workers=1)
    assert not (tmp_path / "a").exists()
