"""Replies that hold something else than they should: named, and never kept."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from bad_inputs.hosts import (
    LISTING,
    PAGE,
    TAR,
    TRACKS,
    TRACKS_IN_ALL,
    Handler,
    Host,
    Reply,
    body,
    copies,
    damaged_in_the_middle,
    everything,
    half,
    message_about,
    npy,
    pickled,
    well,
)

from coldstart.shards.reading import Shards


def edited(**changes: Any) -> Reply:
    """The dataset.json with other values; of a dotted key, of what lies in it."""

    def reply(to: Handler, content: bytes) -> None:
        about = json.loads(content)
        for key, value in changes.items():
            *parents, last = key.split("__")
            inside = about
            for parent in parents:
                inside = inside[parent]
            inside[last] = value
        body(json.dumps(about).encode())(to, b"")

    return reply


LISTINGS: dict[str, Reply] = {
    "a web page": body(PAGE),
    "xml": body(b'<?xml version="1.0"?><Error/>'),
    "nothing": body(b""),
    "zeros": body(bytes(1000)),
    "text": body(b"Not Found"),
    "other json": body(b'{"error": "please log in"}'),
    "a list": body(b"[]"),
    "a number": body(b"1"),
    "null": body(b"null"),
    "deeply nested": body(b"[" * 200_000),
    "deeply nested, whole": body(b"[" * 200_000 + b"]" * 200_000),
    "half": half,
    "latin-1": body('{"version": "é"}'.encode("latin-1")),
    "a large number": body(b"1" * 10_000),
    "another version": edited(version=2),
    "a version of text": edited(version="1"),
    "no version": edited(version=None),
    "splits as a list": edited(splits=[1]),
    "splits as text": edited(splits="train"),
    "counts as text": edited(splits__train="8"),
    "a count below 0": edited(splits__train=[-1]),
    "a count of text": edited(splits__train=["8"]),
    "half a track": edited(splits__train=[0.5]),
    "more shards than counts": edited(splits__train=[1] * 20),
    "modalities as a list": edited(modalities=[]),
    "a modality of text": edited(modalities__mgp="x"),
    "a modality without shards": edited(modalities__mgp={"fields": {}}),
    "a modality without fields": edited(modalities__mgp={"shards": {}}),
    "fields as a list": edited(modalities__mgp__fields=["mgp.npy"]),
    "shards as a number": edited(modalities__mgp__shards=3),
    "removed as text": edited(removed="abc"),
    "removed as numbers": edited(removed=[[1]]),
    "current as a list": edited(current=["a"]),
    "a modality that leads elsewhere": edited(
        **{"modalities__../../x": {"fields": {}, "shards": {"train": [], "val": [], "test": []}}}
    ),
    "a split that leads elsewhere": edited(modalities={}, splits={"../..": [1]}),
}


@pytest.mark.parametrize("case", LISTINGS)
def test_what_is_no_dataset_json_is_named(host: Host, tmp_path: Path, case: str) -> None:
    host.replies[LISTING] = [LISTINGS[case]]
    message = message_about(f"{host.address}/{LISTING}: ", lambda: Shards(host.address))
    assert ("web page" in message) == (case in ("a web page", "xml"))
    assert copies(tmp_path) == []
    host.replies.clear()
    assert len(everything(Shards(host.address))) == TRACKS_IN_ALL


def tar(*members: tuple[str, bytes], **changes: Any) -> bytes:
    """A tar of these members; `changes` are of their headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def round_and_round() -> bytes:
    """A tar with a member of a size below 0, after which tarfile would read the same again."""
    content = bytearray(tar(("a.mgp.npy", b"x"), ("b.mgp.npy", b"x")))
    header = content[1024:1536]
    header[124:136] = (-512).to_bytes(12, signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    content[1024:1536] = header
    return bytes(content)


TARS: dict[str, Reply] = {
    "a web page": body(PAGE),
    "nothing": body(b""),
    "zeros": body(bytes(10240)),
    "text": body(b"text" * 1000),
    "half": half,
    "damaged in the middle": damaged_in_the_middle,
    "no member": body(tar()),
    "arrays with damaged headers": lambda to, content: body(content.replace(b"descr", b"d?scr"))(
        to, b""
    ),
    "arrays that are cut": lambda to, content: body(content.replace(b"(64,)", b"(65,)"))(to, b""),
    "pickles": body(tar(*((f"{i}.mgp.npy", pickled()) for i in range(8)))),
    "one member": body(tar(("a.mgp.npy", npy(0)))),
    "no arrays": body(tar(*((f"{i}.mgp.npy", b"x") for i in range(8)))),
    "web pages": body(tar(*((f"{i}.mgp.npy", PAGE) for i in range(8)))),
    "names that lead elsewhere": body(tar(*((f"../../../{i}.mgp.npy", npy(i)) for i in range(8)))),
    "names from the root": body(tar(*((f"/{i}.mgp.npy", npy(i)) for i in range(8)))),
    "links": body(
        tar(*((f"{i}.mgp.npy", b"") for i in range(8)), type=tarfile.SYMTYPE, linkname="/etc")
    ),
    "one member twice": body(tar(*[("a.mgp.npy", npy(0))] * 8)),
    "a size below 0": body(round_and_round()),
    "a long chain of names": body(
        tar(*((f"{i}", b"") for i in range(2000)), type=tarfile.GNUTYPE_LONGNAME)
    ),
    "zipped": lambda to, content: body(gzip.compress(content))(to, b""),
    "other tracks": lambda to, _: well(to, (to.host.folder / "val/mgp/000000.tar").read_bytes()),
    "another shard": lambda to, _: well(
        to, (to.host.folder / TAR[:-5]).with_name("000001.tar").read_bytes()
    ),
}


@pytest.mark.parametrize("case", TARS)
def test_a_tar_of_something_else_is_named_and_not_kept(
    host: Host, tmp_path: Path, case: str
) -> None:
    host.replies[TAR] = [TARS[case]]
    shards = Shards(host.address)
    message_about(f"{host.address}/{TAR}: ", lambda: everything(shards))
    assert copies(tmp_path, TAR) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "current", "there"]
    host.replies.clear()
    assert everything(Shards(host.address)) == everything(Shards(host.folder))


TABLES: dict[str, bytes] = {
    "a web page": PAGE,
    "nothing": b"",
    "no list": b'{"track_id": "a"}',
    "null": b"null",
    "no tracks": b"[1, 2]",
    "ids that are numbers": json.dumps([{"track_id": 1}] * 8).encode(),
    "one track": b'[{"track_id": "a"}]',
    "deeply nested": b"[" * 100_000,
    "latin-1": '[{"track_id": "é"}]'.encode("latin-1"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tracks_of_something_else_are_named_and_not_kept(
    host: Host, tmp_path: Path, case: str
) -> None:
    host.replies[TRACKS] = [body(TABLES[case])]
    shards = Shards(host.address)
    message_about(f"{host.address}/{TRACKS}: ", lambda: everything(shards))
    assert copies(tmp_path, TRACKS) == []
    host.replies.clear()
    assert everything(Shards(host.address)) == everything(Shards(host.folder))
