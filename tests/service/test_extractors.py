"""Sound that comes by HTTP is heard by the extractors that made the dataset's modalities."""

from pathlib import Path

import polars as pl
import pytest
from helpers import World, data_flags
from starlette.testclient import TestClient

import coldstart as cs
from coldstart.cli import main
from coldstart.service.app import make_app
from coldstart.service.settings import ServiceSettings
from coldstart.shards.reading import Shards

CONFIG = """
model:
  encoders:
    mfcc: {class_path: Embedding, init_args: {modality: mfcc, normalize: false, hidden: [8]}}
"""


@pytest.fixture(scope="module")
def run(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a dataset without sound, whose vectors an extractor has made."""
    root = tmp_path_factory.mktemp("extracted")
    args = [str(tiny_world.catalogue / "tracks.parquet"), f"--splits={tiny_world.splits}"]
    flags = [f"--out={root / 'shards'}", "--modalities=[genres]", "--extract=MFCC"]
    assert main(["shard", *args, *flags]) == 0
    (root / "mfcc.yaml").write_text(CONFIG)
    quick = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]
    data = data_flags(tiny_world._replace(shards=root / "shards"))
    config = f"--config={root / 'mfcc.yaml'}"
    assert main(["fit", config, f"--run={root / 'run'}", *quick, *data, "--stages=1"]) == 0
    return root / "run"


def test_a_file_is_heard_asked_for_and_added(run: Path, tiny_world: World) -> None:
    tracks = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").sort("track_id")
    file = tiny_world.catalogue / tracks["audio"][3]
    with TestClient(
        make_app(ServiceSettings(str(run), watch=0)), base_url="http://localhost"
    ) as client:
        assert client.get("/model").json()["hears"]
        asked = client.post("/recommend", files={"audio": file.read_bytes()})
        assert asked.status_code == 200, asked.text
        own = [row.track_id for row in cs.recommend(run=run, audio=str(file))]
        assert [row["track_id"] for row in asked.json()["tracks"]] == own
        new = {"track": '{"track_id": "new1", "title": "New", "artist": "Somebody"}'}
        added = client.post("/tracks", data=new, files={"audio": file.read_bytes()})
        assert added.status_code == 201, added.text
        nearest = client.post("/recommend", files={"audio": file.read_bytes()}).json()["tracks"]
        assert nearest[0]["track_id"] == "new1"
        assert nearest[0]["similarity"] > 0.9999
        content = {"embeddings": {"mfcc": [0.0] * 80}}
        by_hand = {"track_id": "new2", "title": "New", "artist": "Somebody", "content": content}
        for path, body in (("/recommend", {"content": content}), ("/tracks", by_hand)):
            refused = client.post(path, json=body)
            assert refused.status_code == 422
            assert "'mfcc' is made by MFCC, from sound" in refused.json()["detail"]
    assert Shards(run.parent / "shards").count("mfcc", "new", 0) == 1
