"""The service: answers as the command line gives them, changes that last, and errors in words."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
import soundfile
from helpers import Fitted, music
from starlette.testclient import TestClient

import coldstart as cs
from coldstart.cli import main
from coldstart.service.app import make_app
from coldstart.service.settings import ServiceSettings
from coldstart.shards.reading import Shards

ASK: dict[str, str | int | bool] = {"candidates": "all", "k": 5}

JSON, TEXT = {"content-type": "application/json"}, {"content-type": "text/plain"}
NOISE = ("a.mp3", b"nothing", "audio/mpeg")
ONE = {"mgp": {"a": 1}}


def client_of(fitted: Fitted, **settings: object) -> TestClient:
    app = make_app(ServiceSettings(str(fitted.run), **{"watch": 0, **settings}))  # type: ignore[arg-type]
    return TestClient(app, base_url="http://localhost")


@pytest.fixture(scope="module")
def client(heard: Fitted) -> Iterator[TestClient]:
    """Of a service whose dataset isn't changed."""
    with client_of(heard, play=True) as client:
        yield client


@pytest.fixture
def live(changeable: Fitted) -> Iterator[TestClient]:
    """Of a service whose dataset may be changed."""
    with client_of(changeable) as client:
        yield client


def recommender_of(client: TestClient) -> cs.Recommender:
    service = client.app.state.service  # type: ignore[attr-defined]
    recommender: cs.Recommender = service.current.recommender
    return recommender


def attributes_of(client: TestClient) -> dict[str, float]:
    return dict.fromkeys(client.get("/model").json()["attributes"]["mgp"], 0.5)


def test_it_answers_as_the_verb_does(
    client: TestClient, heard: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    track = Shards(heard.world.shards).all_tracks(["test"])[0]["track_id"]
    capsys.readouterr()
    flags = ["--like", track, "--candidates", "all", "--k", "5", "--why", "--json"]
    assert main(["recommend", "--run", str(heard.run), *flags, "--where", "plays < 50"]) == 0
    said = json.loads(capsys.readouterr().out)
    asked: dict[str, str | int | bool] = {**ASK, "why": True, "where": "plays < 50"}
    answer = client.get(f"/tracks/{track}/similar", params=asked)
    assert answer.json()["tracks"] == [{"why": None, **row} for row in said]
    posted = client.post("/recommend", json={"like": [track], **asked})
    assert posted.json() == answer.json()


def test_listeners_and_strangers_get_lists(client: TestClient) -> None:
    recommender = recommender_of(client)
    user = recommender.catalogue.known_factors().user_ids[0]
    rows = recommender.for_user(user, candidates="all", k=5)
    answer = client.get(f"/users/{user}/recommendations", params=ASK).json()
    assert [row["track_id"] for row in answer["tracks"]] == [row.track_id for row in rows]
    liked = recommender.catalogue.track_ids[:2]
    rows = recommender.for_liked(liked, candidates="all", k=5)
    answer = client.post("/recommend", json={"liked": liked, **ASK}).json()
    assert [row["track_id"] for row in answer["tracks"]] == [row.track_id for row in rows]


def test_a_sound_file_is_heard_as_the_verb_hears_it(client: TestClient, heard: Fitted) -> None:
    track = Shards(heard.world.shards).all_tracks(["test"])[0]["track_id"]
    path = heard.world.catalogue / "audio" / f"{track}.flac"
    rows = recommender_of(client).for_audio(path, candidates="all", k=5)
    form = {"audio": ("../../etc/passwd", path.read_bytes(), "audio/flac")}
    answer = client.post("/recommend", files=form, data={"query": json.dumps(ASK)})
    assert answer.status_code == 200, answer.text
    found = [(row["track_id"], row["similarity"]) for row in answer.json()["tracks"]]
    assert found == [(row.track_id, row.similarity) for row in rows]
    again = client.post("/recommend", files=form, data={"query": json.dumps(ASK)})
    assert again.json() == answer.json()


def test_content_has_the_place_of_a_stored_track_with_it(heard: Fitted) -> None:
    """What is said of a stored track leads to its stored prediction."""
    client = client_of(heard, placement="either")
    track = Shards(heard.world.shards).all_tracks(["test"])[0]
    mgp = pl.read_parquet(heard.world.catalogue / "mgp.parquet")
    row = mgp.filter(track_id=track["track_id"]).drop("track_id").row(0, named=True)
    genres = pl.read_parquet(heard.world.catalogue / "tracks.parquet")
    names = genres.filter(track_id=track["track_id"])["genres"].to_list()[0]
    content = json.dumps({"content": {"attributes": {"mgp": row}, "genres": names}, **ASK})
    sound = (heard.world.catalogue / "audio" / f"{track['track_id']}.flac").read_bytes()
    answer = client.post(
        "/recommend", files={"audio": ("a", sound, "audio/flac")}, data={"query": content}
    )
    first = answer.json()["tracks"][0]
    assert first["track_id"] == track["track_id"]
    assert first["similarity"] == pytest.approx(1, abs=1e-3)


def test_tracks_are_found_and_heard(client: TestClient, heard: Fitted) -> None:
    catalogue = recommender_of(client).catalogue
    track = Shards(heard.world.shards).all_tracks(["test"])[0]
    found = client.get("/tracks", params={"q": track["title"].upper()}).json()["tracks"]
    assert track["track_id"] in [row["track_id"] for row in found]
    about = client.get(f"/tracks/{track['track_id']}").json()
    assert (about["title"], about["can_be_heard"]) == (track["title"], True)
    whole = client.get(f"/tracks/{track['track_id']}/audio")
    assert whole.headers["content-type"] == "audio/flac"
    assert whole.content[:4] == b"fLaC"
    part = client.get(f"/tracks/{track['track_id']}/audio", headers={"range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, whole.content[4:10])
    assert part.headers["content-range"] == f"bytes 4-9/{len(whole.content)}"
    end = client.get(f"/tracks/{track['track_id']}/audio", headers={"range": "bytes=-3"})
    assert end.content == whole.content[-3:]
    behind = client.get(
        f"/tracks/{track['track_id']}/audio", headers={"range": f"bytes={len(whole.content)}-"}
    )
    assert behind.status_code == 416
    assert client.get("/model").json()["tracks"] == len(catalogue)


def test_a_track_without_sound_of_its_own_says_so(changeable: Fitted) -> None:
    """Whatever the dataset has of other tracks."""
    with client_of(changeable, play=True) as live:
        content = {"genres": ["Rock"], "attributes": {"mgp": attributes_of(live)}}
        track = {"track_id": "silent", "title": "Silent", "artist": "A", "content": content}
        assert live.post("/tracks", json=track).status_code == 201
        assert live.get("/tracks/silent").json()["can_be_heard"] is False
        assert live.get("/tracks/silent/audio").status_code == 404
        other = recommender_of(live).catalogue.track_ids[0]
        found = live.get("/tracks", params={"q": other}).json()["tracks"]
        assert [row["can_be_heard"] for row in found] == [True]


def test_a_new_track_is_a_candidate_at_once_and_lasts(
    live: TestClient, changeable: Fitted, tmp_path: Path
) -> None:
    path = tmp_path / "new.wav"
    soundfile.write(path, music(4.0, seed=5), 22_050)
    content = {"genres": ["Rock"], "attributes": {"mgp": attributes_of(live)}}
    track = {"track_id": "new one", "title": "Nobody Knows", "artist": "No One", "mood": "dark"}
    form = {"audio": ("new.wav", path.read_bytes(), "audio/wav")}
    before = live.get("/health").json()["version"]
    answer = live.post(
        "/tracks", files=form, data={"track": json.dumps({**track, "content": content})}
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["version"] == live.get("/health").json()["version"] != before
    assert live.get("/tracks", params={"q": "nobody kno"}).json()["tracks"][0]["columns"]["mood"]
    near = live.get("/tracks/new one/similar", params=ASK).json()["tracks"]
    back = live.get(f"/tracks/{near[0]['track_id']}/similar", params={"k": 60}).json()["tracks"]
    assert "new one" in [row["track_id"] for row in back]
    again = live.post("/tracks", json=track)
    assert again.status_code == 409
    assert "new one" in again.json()["detail"]
    # It is in the dataset, and another process finds it, where its sound puts it.
    fresh = cs.Recommender(changeable.run)
    assert [row.track_id for row in fresh.similar("new one", candidates="all", k=5)] == [
        row["track_id"] for row in near
    ]
    heard = fresh.for_content(
        cs.UnseenTrack(audio=path, genres=["Rock"], attributes={"mgp": attributes_of(live)}), k=1
    )
    assert heard[0].track_id == "new one"
    assert heard[0].similarity == pytest.approx(1, abs=1e-3)


def test_many_new_tracks_at_once_are_all_found(live: TestClient) -> None:
    content = {"genres": ["Rock"], "attributes": {"mgp": attributes_of(live)}}
    rows = [
        {"track_id": f"n{i % 7}", "title": f"Title {i % 7}", "artist": "A", "content": content}
        for i in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: live.post("/tracks", json=row), rows))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[:7] == [201] * 7
    assert statuses[7] in (201, 409)  # the same track twice: already there, or refused
    assert all(live.get(f"/tracks/n{i}").status_code == 200 for i in range(7))


def test_ids_may_hold_slashes_and_more(live: TestClient) -> None:
    content = {"genres": ["Rock"], "attributes": {"mgp": attributes_of(live)}}
    names = (
        *("AC/DC", "a?b#c", "ü ö", "100%", "%2F", "a/similar", "similar", "x/audio", "x/return"),
        *("..", "../../health", "a//b", "/", "a;b=c&d", "a+b", "\\", "a/similar/similar"),
    )
    tracks = [
        {"track_id": name, "title": "Title", "artist": "A", "content": content} for name in names
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda track: live.post("/tracks", json=track), tracks)
        assert [answer.status_code for answer in answers] == [201] * len(names)
    for name in names:
        path = quote(name, safe="").replace(".", "%2E")  # else a client would take `..` away
        assert live.get(f"/tracks/{path}").json()["track_id"] == name
        rows = live.get(f"/tracks/{path}/similar", params={**ASK, "k": 100}).json()["tracks"]
        # It is the query that is left out, and no other: each other one is there.
        assert {*names} - {row["track_id"] for row in rows} == {name}
        assert live.get(f"/tracks/{path}/audio").status_code == 403
    with ThreadPoolExecutor(8) as pool:  # together, so that the run is loaded only some times
        paths = [f"/tracks/{quote(name, safe='').replace('.', '%2E')}" for name in names]
        assert {answer.status_code for answer in pool.map(live.delete, paths)} == {200}
        assert {answer.status_code for answer in pool.map(live.get, paths)} == {404}
        back = pool.map(live.post, [f"{path}/return" for path in paths])
        assert {answer.status_code for answer in back} == {200}
        assert {answer.status_code for answer in pool.map(live.get, paths)} == {200}


def test_a_slash_of_an_id_may_also_be_sent_as_it_is(live: TestClient) -> None:
    content = {"genres": ["Rock"], "attributes": {"mgp": attributes_of(live)}}
    track = {"track_id": "AC/DC", "title": "Title", "artist": "A", "content": content}
    assert live.post("/tracks", json=track).status_code == 201
    assert live.get("/tracks/AC/DC").json()["track_id"] == "AC/DC"
    assert live.get("/tracks/AC/DC/similar", params=ASK).status_code == 200


def test_withdrawn_tracks_go_and_come_back(live: TestClient) -> None:
    track = recommender_of(live).catalogue.track_ids[-1]
    assert live.delete(f"/tracks/{track}").status_code == 200
    gone = live.get(f"/tracks/{track}")
    assert gone.status_code == 404
    assert "was removed" in gone.json()["detail"]
    assert live.post(f"/tracks/{track}/return").status_code == 200
    assert live.get(f"/tracks/{track}").status_code == 200
    assert live.post("/tracks/nobody/return").status_code == 404


def test_listens_are_folded_in(live: TestClient) -> None:
    tracks = recommender_of(live).catalogue.track_ids[:5]
    listens = [
        {"user_id": "fresh", "track_id": t, "timestamp": f"2031-01-0{i + 1}T10:00:00"}
        for i, t in enumerate(tracks)
    ]
    assert live.get("/users/fresh/recommendations").status_code == 404
    answer = live.post("/listens", json={"listens": listens})
    assert answer.status_code == 200, answer.text
    assert answer.json()["detail"].startswith("folded: 5 listens")
    listed = live.get("/users/fresh/recommendations", params={"candidates": "all", "k": 60}).json()
    assert not {row["track_id"] for row in listed["tracks"]} & set(tracks)
    assert live.post("/listens", json={"listens": listens}).json()["detail"].startswith("repeated")


def test_what_another_process_changes_is_taken_over(live: TestClient, changeable: Fitted) -> None:
    track = recommender_of(live).catalogue.track_ids[-1]
    before = live.get("/health").json()["version"]
    assert main(["remove", track, "--shards", str(changeable.world.shards)]) == 0
    assert live.get(f"/tracks/{track}").status_code == 200
    assert live.post("/reload").json()["version"] != before
    assert live.get(f"/tracks/{track}").status_code == 404


def test_a_run_that_cannot_be_loaded_does_not_take_over(
    live: TestClient, changeable: Fitted
) -> None:
    (changeable.world.shards / "dataset.json").rename(changeable.world.shards / "hidden.json")
    answer = live.post("/reload")
    assert answer.status_code == 422
    assert "dataset.json is missing" in answer.json()["detail"]
    assert str(changeable.world.root) not in answer.json()["detail"]
    health = live.get("/health").json()
    assert health["problem"]
    track = recommender_of(live).catalogue.track_ids[0]
    assert live.get(f"/tracks/{track}/similar", params=ASK).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "words"),
    [
        ("get", "/tracks/nobody", {}, 404, "there is no track 'nobody'"),
        ("get", "/tracks/nobody/similar", {}, 404, "there is no track"),
        ("get", "/users/nobody/recommendations", {}, 404, "no user 'nobody'"),
        ("get", "/users/u00000/recommendations", {"params": {"k": 0}}, 422, "query.k"),
        ("get", "/users/u00000/recommendations", {"params": {"x": 1}}, 422, "query.x"),
        (
            "get",
            "/users/u00000/recommendations",
            {"params": {"where": "nothing = 1"}},
            422,
            "names a column 'nothing'",
        ),
        ("post", "/recommend", {"json": {}}, 422, "ask one thing"),
        ("post", "/recommend", {"json": {"like": ["a"], "liked": ["b"]}}, 422, "ask one thing"),
        ("post", "/recommend", {"content": b"{", "headers": JSON}, 422, "JSON"),
        ("post", "/recommend", {"content": b"x", "headers": TEXT}, 415, "multipart"),
        ("post", "/recommend", {"json": {"content": {"texts": {"x": "y"}}}}, 422, "'x'"),
        ("post", "/recommend", {"json": {"content": {"attributes": ONE}}}, 422, "lacks"),
        ("post", "/recommend", {"files": {"audio": NOISE}}, 422, "the sound file: not audio"),
        ("post", "/recommend", {"files": {"sound": NOISE}}, 422, "'sound'"),
        ("post", "/tracks", {"json": {"track_id": "a", "title": "b"}}, 422, "artist"),
        ("post", "/listens", {"json": {"listens": []}}, 422, "listens"),
        ("get", "/elsewhere", {}, 404, "Not Found"),
        ("put", "/tracks", {}, 405, "Method Not Allowed"),
    ],
)
def test_errors_are_problems_of_one_sentence(
    client: TestClient, method: str, path: str, options: dict[str, object], status: int, words: str
) -> None:
    answer = client.request(method, path, **options)  # type: ignore[arg-type]
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_a_flaw_of_the_service_is_no_traceback(
    heard: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(ServiceSettings(str(heard.run), watch=0))
    monkeypatch.setattr(cs.Recommender, "similar", lambda *_, **__: 1 / 0)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        answer = client.get(f"/tracks/{recommender_of(client).catalogue.track_ids[0]}/similar")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert answer.json()["detail"].startswith("this is a fault of the service")


def test_prometheus_reads_latencies_and_the_share_of_new_tracks(client: TestClient) -> None:
    catalogue = recommender_of(client).catalogue
    client.get(f"/tracks/{catalogue.track_ids[0]}/similar", params={"candidates": "warm", "k": 3})
    text = client.get("/metrics").text
    route = '{route="/tracks/{track_id}/similar"}'
    assert f"coldstart_request_seconds_count{route}" in text
    assert 'coldstart_recommended_tracks_total{kind="known"}' in text
    assert f'coldstart_tracks{{kind="known"}} {float(catalogue.warm)}' in text


def test_the_schema_names_all_that_it_refers_to(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    names = set(schema["components"]["schemas"])
    text = json.dumps(schema)
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= names
    assert {"Asked", "NewTrackForm", "TrackContent", "ProblemDetail"} <= names


def test_sounds_are_finite(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(8000 * 60 * 21, np.int16), 8000, format="FLAC")
    form = {"audio": ("long.flac", path.read_bytes(), "audio/flac")}
    answer = client.post("/recommend", files=form)
    assert answer.status_code == 422
    assert "longer than 20 minutes" in answer.json()["detail"]
