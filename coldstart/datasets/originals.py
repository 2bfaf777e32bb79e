"""Finding an original file, in a folder or an archive, and reading it without unpacking anything.

Nothing of an archive is written to the disk, so no name in it can lead elsewhere.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from coldstart.datasets.fetching import Remote, download
from coldstart.errors import InputError
from coldstart.files import StrPath, cache_folder

Source = str | os.PathLike[str] | list[str] | None
"""A folder, a file or archive, or several of them; None: download."""

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PACKED: dict[str, Callable[[IO[bytes]], Any]] = {".bz2": bz2.open, ".gz": gzip.open}
# RuntimeError: an encrypted .zip, or one packed in a way that Python doesn't know.
DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, RuntimeError)


@dataclass(frozen=True)
class About:
    """A data set: what people must know of it before they use it.

    Attributes:
        name: as in `coldstart dataset NAME`.
        title: its own name.
        page: its home page.
        terms: licence and terms, in a sentence or two.
        citation: what to cite.
        remotes: its files; an archive stands for what is in it.
    """

    name: str
    title: str
    page: str
    terms: str
    citation: str
    remotes: tuple[Remote, ...] = ()

    def __str__(self) -> str:
        return f"{self.title}, {self.page}\nTerms: {self.terms}\nCite: {self.citation}"


@dataclass(frozen=True)
class Original:
    """A file of the data set: `path` itself, or what is called `member` in that archive."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """Name without folders and without .bz2 or .gz."""
        path = Path(self.member or self.path)
        return path.stem if path.suffix in PACKED else path.name

    def blocks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """Its bytes, unpacked, in blocks of about `size`.

        Raises:
            InputError: damaged.
        """
        try:
            with _raw(self) as raw:
                unpack = PACKED.get(Path(self.member or self.path).suffix)
                file: IO[bytes] = unpack(raw) if unpack else raw
                while block := file.read(size):
                    yield block
        except DAMAGED as error:
            raise InputError(f"{self}: damaged ({error}); fetch it again") from error

    def bytes(self) -> bytes:
        """All its bytes."""
        return b"".join(self.blocks())


@contextmanager
def _raw(original: Original) -> Iterator[IO[bytes]]:
    if not original.member:
        with original.path.open("rb") as file:
            yield file
    elif original.path.suffix == ".zip":
        with zipfile.ZipFile(original.path) as archive, archive.open(original.member) as file:
            yield file
    else:
        with tarfile.open(original.path) as tar:
            inside = tar.extractfile(original.member)
            yield inside if inside is not None else io.BytesIO()


class Originals:
    """The original files: the user's own, or else downloaded."""

    def __init__(self, about: About, source: Source = None) -> None:
        """Say the terms; look at what the user has.

        Args:
            about: the data set.
            source: folder, file or archive, or several; None: what is needed is downloaded.

        Raises:
            InputError: no such file or folder, or a damaged archive.
        """
        print(about)
        self.about, self.given = about, source is not None
        places = [source] if isinstance(source, str | os.PathLike) else source or []
        self.files = [original for place in places for original in self._listed(Path(place))]
        self.places = ", ".join(os.fspath(place) for place in places)

    def find(self, name: str) -> Original | None:
        """A file by its name, or the end of its path; it may be packed. None if it isn't there."""
        for ending in ("", *PACKED):
            for original in self.files:
                if f"/{original.member or original.path.as_posix()}".endswith(f"/{name}{ending}"):
                    return original
        return None

    def need(self, name: str, within: str = "") -> Original:
        """A file that can't be done without; downloaded, if the user brought nothing.

        Args:
            name: file name, or the end of its path.
            within: the archive to download for it.

        Raises:
            InputError: it isn't there, or can't be downloaded.
        """
        if found := self.find(name):
            return found
        if not self.given:
            by_name = {remote.name: remote for remote in self.about.remotes}
            for wanted in (within or name, f"{name}.bz2", f"{name}.gz"):
                if wanted in by_name:
                    folder = cache_folder() / "datasets" / self.about.name
                    self.files += self._listed(download(by_name[wanted], folder))
                    break
            if found := self.find(name):
                return found
        where = self.places or "the downloaded files"
        archive = f" (it is in {within})" if within else ""
        raise InputError(
            f"{where}: there is no file {name}{archive}. --source takes the folder with the files "
            f"of {self.about.title}, or their archive: {self.about.page}"
        )

    def _listed(self, place: Path) -> list[Original]:
        """A file, an archive's members, or all of these in a folder.

        In a folder, only this data set's own archives are looked into: there may be terabytes.
        """
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.is_file())
            names = {Path(remote.name).name for remote in self.about.remotes}
            return [
                original
                for path in inside
                for original in (self._listed(path) if path.name in names else [Original(path)])
            ]
        if not place.is_file():
            raise InputError(f"{place}: there is no such file or folder")
        try:
            return [Original(place), *(Original(place, name) for name in _members(place))]
        except DAMAGED as error:
            raise InputError(f"{place}: damaged archive ({error}); fetch it again") from error

    def matching(self, part: str) -> list[Original]:
        """Files that have `part` in their own, their folder's or their archive's name.

        The archive itself isn't among them. In the order of their names.
        """
        found = [
            original
            for original in self.files
            if part in f"{original.path.parent.name}/{original.path.name}/{original.member}"
            and (original.member or not _is_archive(original.path))
        ]
        return sorted(found, key=str)


def _is_archive(path: Path) -> bool:
    return path.suffix == ".zip" or path.name.endswith(TARS)


def _members(path: Path) -> Sequence[str]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return [item.filename for item in archive.infolist() if not item.is_dir()]
    if path.name.endswith(TARS):
        with tarfile.open(path) as tar:
            return [item.name for item in tar if item.isfile()]
    return []


def folder_of(path: StrPath) -> Path:
    """The folder that a path names, as an absolute path.

    Raises:
        InputError: no such folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    return folder.absolute()
