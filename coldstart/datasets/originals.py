"""Finding an original file, in a folder or an archive, and reading it without unpacking anything.

Nothing of an archive is written to the disk, so no name in it can lead elsewhere.
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
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
from coldstart.errors import InputError, one_line
from coldstart.files import StrPath, cache_folder

log = logging.getLogger(__name__)

OriginalPaths = str | os.PathLike[str] | list[str] | None
"""Where the original files are: a folder, a file or archive, or several; None: download."""

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {".bz2": bz2.open, ".gz": gzip.open}
# RuntimeError: an encrypted .zip, or one compressed in a way that Python doesn't know.
READ_ERRORS = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
    RuntimeError,
)


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
    """A file of the data set: `path` itself, or the file `member` in that archive."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """Name without folders and without .bz2 or .gz."""
        path = Path(self.member or self.path)
        return path.stem if path.suffix in OPENERS else path.name

    def blocks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """Its decompressed bytes, in blocks of about `size`.

        Raises:
            InputError: damaged.
        """
        try:
            with _raw(self) as raw:
                opener = OPENERS.get(Path(self.member or self.path).suffix)
                file: IO[bytes] = opener(raw) if opener else raw
                while block := file.read(size):
                    yield block
        except READ_ERRORS as error:
            reason = one_line(error)
            raise InputError(f"{self}: damaged ({reason}); fetch it again") from error

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
            content = tar.extractfile(original.member)
            yield content if content is not None else io.BytesIO()


class Originals:
    """The original files: the user's own, or else downloaded."""

    def __init__(self, about: About, source: OriginalPaths = None) -> None:
        """Log the terms; list what the user has.

        Args:
            about: the data set.
            source: folder, file or archive, or several; None: what is needed is downloaded.

        Raises:
            InputError: no such file or folder, or a damaged archive.
        """
        log.info(about)
        self.about, self.downloads = about, source is None
        paths = [source] if isinstance(source, str | os.PathLike) else source or []
        self.files = [original for path in paths for original in self._list(Path(path))]
        self.source = ", ".join(os.fspath(path) for path in paths)

    def find(self, name: str) -> Original | None:
        """A file by its name, or the end of its path; it may be compressed. None: not found."""
        for ending in ("", *OPENERS):
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
        if not self.find(name) and self.downloads:
            self._download(within or name, f"{name}.bz2", f"{name}.gz")
        if original := self.find(name):
            return original
        where = self.source or "the downloaded files"
        archive = f" (it is in {within})" if within else ""
        raise InputError(
            f"{where}: there is no file {name}{archive}. --source takes the folder with the files "
            f"of {self.about.title}, or their archive: {self.about.page}"
        )

    def _download(self, *names: str) -> None:
        """Download the first of these files that the data set has."""
        remotes = {remote.name: remote for remote in self.about.remotes}
        for name in names:
            if name in remotes:
                folder = cache_folder() / "datasets" / self.about.name
                self.files += self._list(download(remotes[name], folder))
                return

    def _list(self, place: Path) -> list[Original]:
        """A file, an archive's members, or all of these in a folder.

        In a folder, only this data set's own archives are opened: others may have terabytes.
        """
        if place.is_dir():
            names = {Path(remote.name).name for remote in self.about.remotes}
            originals: list[Original] = []
            for path in sorted(path for path in place.rglob("*") if path.is_file()):
                originals += self._list(path) if path.name in names else [Original(path)]
            return originals
        if not place.is_file():
            raise InputError(f"{place}: there is no such file or folder")
        try:
            return [Original(place), *(Original(place, name) for name in _members(place))]
        except READ_ERRORS as error:
            reason = one_line(error)
            raise InputError(f"{place}: damaged archive ({reason}); fetch it again") from error

    def matching(self, part: str) -> list[Original]:
        """Files that have `part` in their own, their folder's or their archive's name.

        The archive itself isn't among them. In the order of their names.
        """
        matches = [
            original
            for original in self.files
            if part in f"{original.path.parent.name}/{original.path.name}/{original.member}"
            and (original.member or not _is_archive(original.path))
        ]
        return sorted(matches, key=str)


def _is_archive(path: Path) -> bool:
    return path.suffix == ".zip" or path.name.endswith(TARS)


def _members(path: Path) -> Sequence[str]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = (item.filename for item in archive.infolist())
            return [name for name in names if name and not name.endswith("/")]
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
