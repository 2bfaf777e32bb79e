"""Servers that are ill: each is named soon, and tried again where that may help."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from bad_inputs.hosts import (
    LISTING,
    PAGE,
    SLOW,
    TAR,
    TRACKS,
    TRACKS_IN_ALL,
    Handler,
    Host,
    Reply,
    a_bomb,
    body,
    copies,
    cut,
    cut_chunk,
    damaged_in_the_middle,
    endless,
    endless_chunks,
    endless_headers,
    everything,
    half,
    half_without_length,
    hung_up,
    impatience,
    message_about,
    no_http,
    silent,
    stalled,
    status,
    too_short_a_length,
    well,
)
from helpers import World

from coldstart.addresses import transfer
from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.shards.reading import Shards

ENDLESS = [endless, endless_chunks]
LONG = [a_bomb, body(b" " * (2 << 20))]
CUT = [cut, cut_chunk, hung_up, half_without_length, too_short_a_length]
TROUBLE = [status(code) for code in (408, 429, 500, 502, 503, 504)]
REFUSED = [status(401), status(403)]
ABSENT = [status(404), status(410)]
ODD = [
    no_http,
    endless_headers,
    body(b"", Content_Length="abc"),
    *map(status, (204, 302, 400, 405, 418)),
]


def cases(**kinds: Sequence[Reply]) -> pytest.MarkDecorator:
    """One case a reply of each kind; `expected` is a part of the message."""
    texts = {
        "slow": "nobody answers, or too slowly",
        "endless": "it is longer than",
        "cut": "",
        "trouble": "the server is in trouble",
        "refused": "access is refused",
        "absent": "there is no such file",
        "odd": "",
    }
    params = [
        pytest.param(reply, texts[kind], id=f"{kind}-{getattr(reply, '__name__', 'reply')}{i}")
        for kind, replies in kinds.items()
        for i, reply in enumerate(replies)
    ]
    return pytest.mark.parametrize(("reply", "expected"), params)


@cases(
    slow=SLOW,
    endless=[*ENDLESS, *LONG],
    cut=CUT,
    trouble=TROUBLE,
    refused=REFUSED,
    absent=ABSENT,
    odd=ODD,
)
def test_a_server_that_is_ill_is_named_soon(
    host: Host, tmp_path: Path, reply: Reply, expected: str
) -> None:
    host.replies[LISTING] = [reply]
    place = f"{host.address}/{LISTING}: "
    message = message_about(place, lambda: Shards(host.address), slow=reply in SLOW)
    assert expected in message
    assert copies(tmp_path) == []
    host.replies.clear()
    assert len(everything(Shards(host.address))) == TRACKS_IN_ALL


@cases(slow=SLOW[2:], endless=ENDLESS, cut=CUT, trouble=TROUBLE[2:3], absent=ABSENT[:1])
@pytest.mark.parametrize("name", [TRACKS, TAR])
def test_a_file_that_does_not_come_is_named_and_fetched_by_the_next_run(
    host: Host, tmp_path: Path, name: str, reply: Reply, expected: str
) -> None:
    host.replies[name] = [reply]
    shards = Shards(host.address)
    place = f"{host.address}/{name}: "
    message = message_about(place, lambda: everything(shards), slow=reply in SLOW)
    assert expected in message
    assert copies(tmp_path, name) == []
    host.replies.clear()
    assert everything(Shards(host.address)) == everything(Shards(host.folder))


PASSING = [silent, stalled, cut, cut_chunk, hung_up, half_without_length, status(503), status(429)]
PASSING += [half, damaged_in_the_middle, body(b"")]


@pytest.mark.parametrize("reply", PASSING)
@pytest.mark.parametrize("name", [LISTING, TRACKS, TAR])
def test_what_passes_by_itself_is_tried_again(
    host: Host, name: str, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    host.replies[name] = [reply, well]
    with impatience(reply in SLOW):
        assert everything(Shards(host.address)) == everything(Shards(host.folder))
    assert host.asked.count(name) == 2
    words = [record.getMessage() for record in caplog.records]
    assert len(words) == (reply != hung_up)  # then aiohttp tries again by itself
    assert all(word.startswith(f"{host.address}/{name}: ") for word in words)
    assert all(word.endswith("another try in 0.01 s") for word in words)


def test_tries_end_and_waits_grow(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.replies[LISTING] = [status(503)]
    with pytest.raises(InputError, match=r"trouble \(503 .*\), at each of 4 tries; see that the"):
        Shards(host.address)
    waits = [record.getMessage().rpartition("in ")[2] for record in caplog.records]
    assert waits == ["0.01 s", "0.02 s", "0.04 s"]
    host.asked.clear()
    for reply, tries in [(silent, 2), (status(404), 1), (status(403), 1), (body(PAGE), 1)]:
        host.replies[LISTING] = [reply]
        with pytest.raises(InputError), impatience(reply == silent):
            Shards(host.address)
        assert host.asked == [LISTING] * tries
        host.asked.clear()


def test_slow_is_not_too_slow(host: Host) -> None:
    def slow(to: Handler, content: bytes) -> None:
        to.head(200, Content_Length=len(content))
        for i in range(0, len(content), 20_000):
            to.wait(0.1)
            to.wfile.write(content[i : i + 20_000])

    about = json.loads((host.folder / LISTING).read_bytes())
    text = json.dumps(about).encode() + b" " * 150_000
    host.replies[LISTING] = [lambda to, _: slow(to, text)]
    start = time.monotonic()
    with impatience(True):
        assert len(everything(Shards(host.address))) == TRACKS_IN_ALL
    assert time.monotonic() - start > 2 * 0.3


# Redirects.

REDIRECTS = [
    "file:///etc/hostname",
    "file:/etc/hostname",
    "ftp://127.0.0.1:1/x",
    "s3://bucket/x",
    "data:,x",
    "javascript:x",
    "/shards/dataset.json",  # to itself
    "http://",
    "http://[::1/x",
    "http://127.0.0.1:port/x",
    "http://127.0.0.1:1/x",
]


@pytest.mark.parametrize("place", REDIRECTS)
def test_a_redirect_to_no_good_place_is_named(host: Host, tmp_path: Path, place: str) -> None:
    host.replies[LISTING] = [status(302, Location=place)]
    message_about(f"{host.address}/{LISTING}: ", lambda: Shards(host.address))
    assert copies(tmp_path) == []
    assert len(host.asked) <= 1 + transfer.REDIRECTS


def test_a_redirect_to_a_good_place_is_followed(host: Host) -> None:
    other = Host(host.folder)
    for name in (LISTING, TAR):
        host.replies[name] = [status(307, Location=f"{other.address}/{name}")]
    assert everything(Shards(host.address)) == everything(Shards(host.folder))
    assert other.asked == [LISTING, TAR]
    other.close()


# The command line.


def test_a_fit_from_an_ill_server_ends_with_its_status(
    host: Host, tiny_world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host.folder = tiny_world.shards
    host.replies["val/genres/000000.tar"] = [status(503)]
    data = [f"--data.shards={host.address}", f"--data.factors={tiny_world.factors}"]
    quick = ["--trainer.max_epochs=1", "--data.workers=1", f"--run={tmp_path / 'run'}"]
    assert main(["fit", "--config=mgp_genres.yaml", *data, *quick]) == 2
    shown = capfd.readouterr().err
    assert "Traceback" not in shown
    assert "another try in" in shown
    last = shown.splitlines()[-1]
    assert last.startswith(f"coldstart fit: {host.address}/val/genres/000000.tar: the server is in")
