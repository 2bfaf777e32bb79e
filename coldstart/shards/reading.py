"""`Shards`: reading a dataset, shard by shard."""

from __future__ import annotations

import mmap
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any

from numpy.lib.format import read_array

from coldstart.errors import InputError, without_passwords
from coldstart.files import MISSING, StrPath, is_remote, unusable
from coldstart.sample import MalformedError, Sample, folder_of
from coldstart.shards import remote
from coldstart.shards.format import MAPPED, place_of, track_of
from coldstart.shards.listing import listing, parsed
from coldstart.shards.track_columns import TRACK, text_of
from coldstart.tables.splits import IN_USE, NEW, SPLITS

STARTS = {"flac": b"fLaC", "frames": b"\x93NUMPY"}
"""How a large field of a codec begins."""


class Shards:
    """A dataset of shards; only `dataset.json` is read until samples are asked for.

    Args:
        folder: on disk, or an address such as `s3://bucket/shards`; see `remote.py`.

    Attributes:
        folder: where it lies; of a remote dataset, the local copy.
        about: `dataset.json`.
        address: of a remote dataset; None for any other.
        removed: ids of tracks that were withdrawn: learnt from and measured, not recommended.
        current: of ids that the dataset has twice or more, the shard with the copy that counts.

    Raises:
        InputError: no dataset, one of another version, or it can't be reached.
    """

    def __init__(self, folder: StrPath) -> None:
        self.folder = remote.mirror(os.fspath(folder)) if is_remote(folder) else Path(folder)
        path = self.folder / "dataset.json"
        if not path.is_file():
            raise InputError(
                f"{folder}: no dataset here (dataset.json is missing); make one with "
                f"`coldstart shard TRACKS --splits SPLITS --out {folder}`"
            )
        self.about = listing(path.read_bytes(), path)
        self.address = remote.origin(self.folder, self.about)
        self.removed: frozenset[str] = frozenset(self.about.get("removed", ()))
        self.current: dict[str, str] = dict(self.about.get("current", {}))

    @property
    def place(self) -> str:
        """The dataset's address, or its folder's absolute path."""
        return self.address or str(self.folder.absolute())

    @property
    def shown(self) -> str:
        """The dataset's address, without a password, or its folder as it was named: for people."""
        return without_passwords(self.address) if self.address else str(self.folder)

    @property
    def modalities(self) -> dict[str, dict[str, Any]]:
        """Modality folder → its facts in dataset.json."""
        modalities: dict[str, dict[str, Any]] = self.about["modalities"]
        return modalities

    def info(self, folder: str) -> dict[str, Any]:
        """Facts of one modality.

        Raises:
            InputError: the dataset doesn't have it (lists what it has).
        """
        if folder not in self.modalities:
            raise InputError(
                f"{self.shown}: this dataset has no modality '{folder}'; it has: "
                f"{', '.join(sorted(self.modalities)) or 'none'}"
            )
        return self.modalities[folder]

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits: train, val and test, and `new` if tracks were added to them."""
        return IN_USE if NEW in self.about["splits"] else SPLITS

    def is_in_use(self, track_id: str, split: str, shard: int) -> bool:
        """Whether a shard's track is one to recommend: not removed, and the copy that counts."""
        place = place_of(split, shard)
        return track_id not in self.removed and self.current.get(track_id, place) == place

    def tracks_in_use(self) -> list[dict[str, Any]]:
        """Every track that may be recommended, with its `split`: of each id the copy that counts,
        also of tracks that were added since the fit, without those that were removed.
        """
        return [
            {**track, "split": split}
            for split in self.split_names
            for shard in range(len(self.shard_sizes(split)))
            for track in self.tracks(split, shard)
            if self.is_in_use(track["track_id"], split, shard)
        ]

    def count(self, folder: str, split: str, shard: int) -> int:
        """How many of a shard's tracks have a modality.

        Of `new` shards, `dataset.json` may list fewer than there are: none of their tracks has it.
        """
        counts: list[int] = self.info(folder)["shards"].get(split, [])
        return counts[shard] if shard < len(counts) or split != NEW else 0

    def shard_sizes(self, split: str) -> list[int]:
        """Tracks in each shard of a split; empty for a split without tracks."""
        sizes: list[int] = self.about["splits"].get(split, [])
        return sizes

    def tracks(self, split: str, shard: int) -> list[dict[str, Any]]:
        """The shard's tracks in order: track_id, title, artist, and the table's other columns."""
        read = partial(_read_tracks, expected=self.shard_sizes(split)[shard])
        path = self.folder / split / "tracks" / f"{shard:06d}.json"
        self._fetch(path, read)
        try:
            return read(path)
        except FileNotFoundError as error:
            raise InputError(
                f"{path}: missing, though dataset.json lists it; shard again"
            ) from error
        except ValueError as error:
            raise self._damaged(path, str(error), "shard again") from error

    def all_tracks(self, splits: Iterable[str] = SPLITS) -> list[dict[str, Any]]:
        """Every track of these splits, with its `split`: what is learnt from and measured.

        What is recommended, predicted or listed are `tracks_in_use`.
        """
        return [
            {**track, "split": split}
            for split in splits
            for shard in range(len(self.shard_sizes(split)))
            for track in self.tracks(split, shard)
        ]

    def column_of(self, field: str) -> str | None:
        """The column of the track list that a field names: X in `track.X`; None: it lies in tars,
        as it also does where the dataset has a modality of that name.
        """
        folder, _, column = field.partition(".")
        in_tars = field in self.modalities.get(folder, {}).get("fields", ())
        return column if folder == TRACK and not in_tars else None

    def samples(self, split: str, shard: int, fields: Iterable[str]) -> Iterator[Sample]:
        """Stream one shard's tracks with these fields, joined in order.

        Each track comes exactly once, with the fields it has; `track.X` is the text in column X of
        its row in the track list.

        Raises:
            InputError: a tar is missing, damaged, or doesn't match dataset.json.
        """
        by_folder: dict[str, set[str]] = {}
        columns: dict[str, str] = {}
        for field in fields:
            if (column := self.column_of(field)) is not None:
                columns[field] = column
                continue
            present = self.info(folder_of(field))["fields"]
            if field not in present:
                raise InputError(
                    f"{self.shown}: no field '{field}'; there is: {', '.join(present)}"
                )
            by_folder.setdefault(folder_of(field), set()).add(field)
        streams = {folder: self._members(folder, split, shard) for folder in by_folder}
        ahead = {folder: next(stream, None) for folder, stream in streams.items()}
        for track in self.tracks(split, shard):
            sample: Sample = {"track_id": track["track_id"], "shard": place_of(split, shard)}
            for field, column in columns.items():
                if (text := text_of(track, column)) is not None:
                    sample[field] = text
            for folder, names in by_folder.items():
                member = ahead[folder]
                if member is not None and track_of(member["__key__"]) == track["track_id"]:
                    sample.update({field: member[field] for field in names & member.keys()})
                    ahead[folder] = next(streams[folder], None)
            yield sample
        for folder, member in ahead.items():
            if member is not None:
                raise self._damaged(
                    self.tar(folder, split, shard),
                    f"holds track {track_of(member['__key__'])!r} out of place",
                    f"shard '{folder}' again",
                )

    def malformed(self, error: MalformedError) -> InputError:
        """The error about a field of a track of this dataset, with its place and a remedy."""
        name, (split, _, number) = folder_of(error.field), error.shard.partition("/")
        if name not in self.modalities or not number.isdigit():
            return InputError(f"{self.shown}: {error}")
        remedy = f"shard '{name}' again with --overwrite"
        return self._damaged(self.tar(name, split, int(number)), str(error), remedy)

    def tar(self, folder: str, split: str, shard: int) -> Path:
        """Where a modality's tar lies."""
        return self.folder / split / folder / f"{shard:06d}.tar"

    def _fetch(
        self, path: Path, check: Callable[[Path], object], tracks: int | None = None
    ) -> None:
        """Fetch a file of a remote dataset, if it isn't here yet; see `remote.fetch_into`."""
        if not path.is_file() and (address := remote.source_of(path, self.folder, self.about)):
            remote.fetch_into(path, address, check, tracks)

    def _damaged(self, path: Path, reason: str, remedy: str) -> InputError:
        """An error about a file; of a remote dataset, the local copy of the file is deleted."""
        address = remote.source_of(path, self.folder, self.about)
        if address is None:
            return InputError(f"{path}: {reason}; {remedy}")
        path.unlink(missing_ok=True)
        return InputError(
            f"{address}: {reason}; the local copy is deleted: the same command fetches it again. "
            "If it stays so, upload it again, as coldstart wrote it"
        )

    def _members(self, folder: str, split: str, shard: int) -> Iterator[dict[str, Any]]:
        expected = self.count(folder, split, shard)
        if split == NEW and expected == 0:  # no tar was written
            return
        path, fields = self.tar(folder, split, shard), self.info(folder)["fields"]
        self._fetch(path, partial(_check_tar, fields=fields, expected=expected), expected)
        mapped = not MAPPED.isdisjoint(fields.values())
        remedy = f"shard '{folder}' again with --overwrite"
        try:
            for sample in _counted(path, mapped, expected):
                if fields.keys().isdisjoint(sample):
                    track = track_of(sample["__key__"])
                    raise ValueError(f"{track!r} has none of {', '.join(fields)} in it")
                yield sample
        except FileNotFoundError as error:
            raise InputError(f"{path}: missing, though dataset.json lists it; {remedy}") from error
        except ValueError as error:
            raise self._damaged(path, str(error), remedy) from error


def _must_be_file(path: Path) -> None:
    """Raise ValueError for a pipe or a device, for which a reader would wait."""
    reason = unusable(path)
    if reason and reason != MISSING:
        raise ValueError(reason)


def _read_tracks(path: Path, expected: int) -> list[dict[str, Any]]:
    """A shard's tracks; raises ValueError where the file isn't as it should be."""
    _must_be_file(path)
    try:
        tracks: list[dict[str, Any]] = parsed(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"not readable JSON ({error})") from error
    if not isinstance(tracks, list) or not all(_is_track(track) for track in tracks):
        raise ValueError("no list of tracks")
    if len(tracks) != expected:
        raise ValueError(f"lists {len(tracks)} tracks, but dataset.json says {expected}")
    return tracks


def _is_track(track: Any) -> bool:
    return isinstance(track, dict) and isinstance(track.get("track_id"), str)


def _check_tar(path: Path, fields: Mapping[str, str], expected: int) -> None:
    """Raise ValueError for a tar that is cut off, or with a field that isn't what it should be.

    Of sound and spectrograms only the start is read: they are large.
    """
    for sample in _counted(path, True, expected):
        for field in fields.keys() & sample.keys():
            try:
                _check_field(sample[field], fields[field])
            except (ValueError, TypeError, EOFError, MemoryError, OverflowError) as error:
                reason = f"{track_of(sample['__key__'])!r} has no {fields[field]} in '{field}'"
                raise ValueError(reason) from error


def _check_field(content: memoryview, codec: str) -> None:
    if codec == "json":
        parsed(bytes(content))
    elif codec == "npy":
        read_array(BytesIO(content), allow_pickle=False)
    elif not bytes(content[:6]).startswith(STARTS.get(codec, b"")):
        raise ValueError(codec)


_TAR_ERRORS = (
    *(OSError, ValueError, EOFError, RecursionError, tarfile.TarError),
    *(MemoryError, OverflowError),  # an extended header that says how long it is
)


def _counted(path: Path, mapped: bool, expected: int) -> Iterator[dict[str, Any]]:
    """`_read_tar`; raises ValueError if the tar is damaged, or holds another number of tracks."""
    count = 0
    try:
        for sample in _read_tar(path, mapped):
            count += 1
            yield sample
    except FileNotFoundError:
        raise
    except _TAR_ERRORS as error:
        reason = str(error.args[0] if error.args else error).partition(" @ ")[0]
        raise ValueError(f"damaged after {count} of {expected} tracks ({reason})") from error
    if count != expected:
        raise ValueError(
            f"holds {count} tracks, but dataset.json says {expected}; the tar is cut off or was "
            "changed"
        )


def _read_tar(path: Path, mapped: bool) -> Iterator[dict[str, Any]]:
    """`__key__` and fields of each track of an uncompressed tar.

    The members' places are read from the tar, and each member at once: reading the tar as a stream
    of small blocks takes 20 times as long.
    """
    _must_be_file(path)
    with tarfile.open(path, "r:") as tar, path.open("rb", buffering=0) as file:
        read = _views_of(file) if mapped else partial(_read_at, file)
        end = os.fstat(file.fileno()).st_size
        sample: dict[str, Any] = {}
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # else it would remember them all
            key, _, field = member.name.partition(".")
            if sample and sample["__key__"] != key:
                yield sample
                sample = {}
            if field in sample:
                raise ValueError(f"{member.name} is there twice")
            if member.size < 0:  # the tar would be read round and round
                raise ValueError(f"{member.name} has a size below 0")
            if member.offset_data + member.size > end:
                raise EOFError(f"{member.name} is cut off")
            content = read(member.offset_data, member.size)
            sample |= {"__key__": key, field: content}
        if sample:
            yield sample


def _read_at(file: FileIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _views_of(file: FileIO) -> Callable[[int, int], memoryview]:
    """Only what is used of a view is read; the file stays mapped while there is a view of it."""
    whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return lambda start, size: whole[start : start + size]
