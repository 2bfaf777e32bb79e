"""The service answers by a run's index where it is told to."""

import pytest
from helpers import Fitted
from starlette.testclient import TestClient

import coldstart as cs
from coldstart.service.app import make_app
from coldstart.service.settings import ServiceSettings

pytest.importorskip("faiss")


def test_what_comes_by_http_is_found_by_the_index(changeable: Fitted) -> None:
    run = changeable.run
    with pytest.raises(cs.InputError, match="this run has no index"):
        make_app(ServiceSettings(str(run), watch=0, search="index"))
    cs.index(run=run)
    app = make_app(ServiceSettings(str(run), watch=0, search="index"))
    with TestClient(app, base_url="http://localhost") as client:
        model = client.get("/model").json()
        assert model["search"] == "index (hnsw)"
        values = dict.fromkeys(model["attributes"]["mgp"], 0.5)
        for name in ("new1", "new2"):
            track = {"track_id": name, "title": name, "artist": name}
            new = client.post("/tracks", json={**track, "content": {"attributes": {"mgp": values}}})
            assert new.status_code == 201, new.text
        nearest = client.get("/tracks/new1/similar?k=1&candidates=all").json()
        assert nearest["tracks"][0]["track_id"] == "new2"
        assert client.delete("/tracks/new2").status_code == 200
        nearest = client.get("/tracks/new1/similar?k=3&candidates=all").json()
        assert "new2" not in [track["track_id"] for track in nearest["tracks"]]
        version = nearest["version"]
        cs.index(run=run)
        assert client.post("/reload").json()["version"] != version  # the index is a part of it
