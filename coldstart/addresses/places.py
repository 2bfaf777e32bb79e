"""How an address is written, and what lies there: a file, or the files of a folder or a pattern."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fsspec.asyn import sync
from fsspec.core import url_to_fs

from coldstart.addresses.failures import AbsentError
from coldstart.addresses.transfer import asked, http_options, is_http
from coldstart.errors import InputError
from coldstart.files import StrPath, fingerprint, is_remote

WILD = r"[*?\[]"

AT_ONCE = 16
"""Questions side by side: most of their time is the way there and back."""

_CHANGING = (
    "ETag",
    "etag",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "mtime",
    "updated",
    "created",
    "generation",
    "md5Hash",
    "content_md5",
    "Content-MD5",
)
"""What fsspec's file systems call that which changes with a file's content."""

_CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5")


class StoredFile(NamedTuple):
    """A file at an address.

    Attributes:
        name: its path from the folder that was asked for; of a single file, its name.
        address: of the file.
        state: changes when the content does; "" where nothing tells.
        size: bytes; None where the store doesn't say.
        checksums: what may be the MD5 of the content, as hexadecimal digits or in base64.
    """

    name: str
    address: str
    state: str
    size: int | None = None
    checksums: frozenset[str] = frozenset()


def normal(address: StrPath) -> str:
    """An address as fsspec reads it; a path may have made one slash of two.

    >>> normal("http:/example.org/shards/"), normal("S3://bucket/a"), normal("file:/data/shards")
    ('http://example.org/shards', 's3://bucket/a', 'file:///data/shards')
    >>> normal("http:///")
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: http:///: names no place; write it like https://host/folder or ...
    """
    address = os.fspath(address)
    scheme, _, rest = address.partition(":")
    scheme, place = scheme.lower(), rest.strip("/")
    if not place:
        raise InputError(
            f"{address}: names no place; write it like https://host/folder or s3://bucket/folder"
        )
    absolute = scheme in ("file", "local") and not re.match("//[^/]", rest)
    return f"{scheme}:{'///' if absolute else '//'}{place}"


def name_at(address: str) -> str:
    """The name of a file at an address, without what a web server is asked beside it.

    >>> name_at("https://host/log.csv?token=1"), name_at("s3://bucket/a?.csv")
    ('log.csv', 'a?.csv')
    """
    return PurePosixPath(address.partition("?")[0] if is_http(address) else address).name


def called(place: StrPath) -> StrPath:
    """A path, or an address with the two slashes of which a path may have made one: for messages.

    >>> called(Path("s3://bucket/a.csv")), called("a.csv")
    ('s3://bucket/a.csv', 'a.csv')
    """
    return normal(place) if is_remote(place) else place


def name_of(place: StrPath) -> str:
    """The name of a file, here or at an address.

    >>> name_of("s3://bucket/a.csv"), name_of("data/a.csv"), name_of("https://host/a.csv?b=c")
    ('a.csv', 'a.csv', 'a.csv')
    """
    return name_at(os.fspath(place)) if is_remote(place) else Path(place).name


def folder_at(address: str) -> str:
    """The folder of what lies at an address; of a pattern, the part before the first wildcard.

    >>> folder_at("s3://bucket/log/day=*/part-*.csv"), folder_at("https://host/a/log.csv?token=1")
    ('s3://bucket/log', 'https://host/a')
    """
    path = address.partition("?")[0] if is_http(address) else address
    wild = None if is_http(address) else re.search(WILD, path)
    return (path[: wild.start()] if wild else path).rpartition("/")[0]


def host_of(address: str) -> tuple[str, str]:
    """The scheme, and the host or bucket.

    >>> host_of("https://host:8000/a.csv"), host_of("s3://bucket")
    (('https', 'host:8000'), ('s3', 'bucket'))
    """
    scheme, _, rest = address.partition("://")
    return scheme, re.split("[/?#]", rest, maxsplit=1)[0]


def joined(folder: str, name: str) -> str:
    """The address of a file by its path from a folder at an address; never of another bucket.

    >>> joined("s3://bucket/a", "../../../b/x.mp3"), joined("https://host", "x.mp3")
    ('s3://bucket/b/x.mp3', 'https://host/x.mp3')
    """
    scheme, _, rest = folder.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}{posixpath.normpath(posixpath.join('/', path, name))}"


def states_at(addresses: Sequence[str]) -> list[str]:
    """The state of each file, as `StoredFile` has it; "" of one that isn't there.

    Raises:
        InputError: a store doesn't answer.
    """

    def state(address: str) -> str:
        try:
            found = files_at(address, sys.maxsize)
        except AbsentError:
            return ""
        return found.state if isinstance(found, StoredFile) else ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(state, addresses))


def files_at(address: str, most: int) -> tuple[str, list[StoredFile]] | StoredFile:
    """What lies at an address.

    Args:
        address: as `normal` gives it: of a file, a folder, or a pattern of files and folders.
        most: files that a folder may have, or a pattern may fit.

    Returns:
        The file; or the folder (of a pattern, see `folder_at`), and all files that are meant, in
        the order of their names.

    Raises:
        AbsentError: nothing lies there.
        InputError: no answer comes, or there are too many files.
    """
    if is_http(address):
        return StoredFile(name_at(address), address, asked(address, partial(_web_state, address)))
    root, facts = asked(address, partial(_facts, address))
    if root is None:
        return _remote(name_at(address), address, *facts.values())
    if len(facts) > most:
        raise InputError(
            f"{address}: has {len(facts):,} files, and more than {most:,} aren't fetched; join "
            "them, or copy the folder and name the copy"
        )
    return root, [_remote(name, f"{root}/{name}", about) for name, about in sorted(facts.items())]


def _facts(address: str) -> tuple[str | None, dict[str, Mapping[str, Any]]]:
    """What is said of files, by name: of a single one, without a folder; else of all below one."""
    system, name = url_to_fs(address)
    system.invalidate_cache()  # or what is new there would not be seen
    folder = address
    if re.search(WILD, address) and not system.exists(name):
        folder = folder_at(address)
        found = dict(system.glob(name, detail=True))
        for place in [place for place, about in found.items() if about["type"] == "directory"]:
            found |= system.find(place, detail=True)
    elif (about := system.info(name))["type"] == "file":
        return None, {name: about}
    else:
        found = system.find(name, detail=True)
    root = url_to_fs(folder)[1].rstrip("/")
    return folder, {
        place[len(root) :].lstrip("/"): about
        for place, about in found.items()
        if about["type"] == "file"
    }


def _remote(name: str, address: str, about: Mapping[str, Any]) -> StoredFile:
    values = {str(about[key]).strip('"') for key in _CHECKSUMS if about.get(key)}
    return StoredFile(name, address, _state(about), about.get("size"), frozenset(values))


def _state(about: Mapping[str, Any]) -> str:
    said = {key: str(about[key]) for key in _CHANGING if about.get(key) is not None}
    return fingerprint(said, about.get("size")) if said else ""


def _web_state(address: str) -> str:
    """The state of a file of a web server, by the head of its answer."""
    import aiohttp

    system, name = url_to_fs(address)

    async def head() -> dict[str, str | None]:
        session = await system.set_session()
        async with session.head(name, allow_redirects=True, **http_options(system)) as reply:
            names = ("ETag", "Last-Modified", "Content-Length")
            return {each: reply.headers.get(each) for each in names} if reply.ok else {}

    try:
        return _state(sync(system.loop, head))
    except aiohttp.ClientError:  # not every server knows HEAD; to fetch the file tells more
        return ""
