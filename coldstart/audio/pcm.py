"""Sound that is heard and not stored: the samples that a FLAC would hold, without making one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from coldstart.audio.mono import Finding, encoded
from coldstart.audio.sound import Samples
from coldstart.errors import InputError
from coldstart.files import StrPath

IN_MEMORY = 32 << 20
"""Bytes of a file that lie in memory, 12 minutes at 22,050 Hz; more lie in a temporary file."""

_FULL_SCALE = 2**15


class Pcm:
    """Mono samples of 16 bits, in flat memory however many they are.

    It closes itself when nobody holds it any more.

    >>> pcm = Pcm()
    >>> pcm.append(np.array([0.5, -0.25, 1.0], np.float32))
    >>> out = np.empty(2, np.int16)
    >>> len(pcm), pcm.read(1, out), out.tolist()
    (3, 2, [-8192, 32767])
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        self._count = 0

    def __len__(self) -> int:
        """Number of samples."""
        return self._count

    def append(self, block: Samples) -> None:
        """Add samples in -1..1, rounded as libsndfile rounds them for a FLAC.

        Raises:
            InputError: the disk of temporary files is full.
        """
        scaled = block * np.float32(_FULL_SCALE)
        np.rint(scaled, out=scaled)
        np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
        try:
            self._file.write(scaled.astype(np.int16).data)
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: a long file's sound can't be kept here while it is "
                f"heard ({error.strerror}); free some space, or name another folder by TMPDIR"
            ) from error
        self._count += len(block)

    def read(self, start: int, out: NDArray[np.int16]) -> int:
        """Fill `out` with the samples from `start` on, as far as there are any.

        Returns:
            How many were read.
        """
        self._file.seek(2 * start)
        return self._file.readinto(out.view(np.uint8).data) // 2

    def __del__(self) -> None:
        """Close the file, which removes it."""
        self._file.close()


def pcm_of(path: StrPath, rate: int) -> tuple[Pcm, Finding]:
    """Decode a file to mono samples at `rate` Hz, and say what it is like.

    Raises:
        AudioError: as in `to_flac`.
    """

    def kept(blocks: Iterator[Samples]) -> Pcm:
        pcm = Pcm()
        for block in blocks:
            pcm.append(block)
        return pcm

    return encoded(path, rate, kept)
