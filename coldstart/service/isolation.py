"""Strangers' sound is decoded in a process of its own, with limits of time and memory.

A file that makes a decoder crash, hang or take all memory ends that process alone. What comes back
is bytes and JSON: nothing of it is unpickled. One process is kept that has imported the decoders,
and divides itself for each file (`forkserver`), so that a file doesn't wait for imports.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from coldstart.audio.decoding import opened
from coldstart.audio.mono import Finding
from coldstart.audio.sound import AudioError

Facts = Mapping[str, Any]

MEMORY_MB = 1500
"""What decoding may take beside what has been imported."""

OPEN_FILES = 64

LARGEST = 1 << 30
"""Bytes of one message."""

GRACE = 2.0
"""Seconds for a process to start and to hand its result over."""

_STARTING = threading.Lock()


class SoundLimits(NamedTuple):
    """Of one file.

    Attributes:
        seconds: how long decoding may take.
        minutes: how long the sound may be.
        memory_mb: what decoding may take.
    """

    seconds: float = 60
    minutes: float = 20
    memory_mb: int = MEMORY_MB


def isolated_contents(
    path: Path, stores: Sequence[Facts], limits: SoundLimits
) -> list[tuple[bytes, Finding]]:
    """What stores with these facts keep of a sound file, and what it is like.

    Args:
        path: the file.
        stores: facts of each store, as dataset.json has them.
        limits: of time and memory.

    Returns:
        For each store the bytes of its tar member, and the finding.

    Raises:
        AudioError: the file can't be used, or goes beyond a limit.
    """
    if sys.platform == "win32":
        raise AudioError("files are decoded in a process with limits, which needs Linux or macOS")
    context = multiprocessing.get_context("forkserver")
    spectrograms = any("transform" in facts for facts in stores)
    receiver, sender = context.Pipe(duplex=False)
    with _STARTING:
        context.set_forkserver_preload(
            ["coldstart.audio.storage" if spectrograms else "coldstart.audio.codec"]
        )
        process = context.Process(
            target=_decode, args=(sender, str(path), [dict(f) for f in stores], limits), daemon=True
        )
        process.start()
    sender.close()
    # Whatever the process does, it ends in time, and then the pipe does, too.
    clock = threading.Timer(limits.seconds + GRACE, process.kill)
    clock.start()
    try:
        return _received(receiver, len(stores))
    except AudioError:
        raise
    except (EOFError, OSError, ValueError) as error:
        process.join(GRACE)
        raise AudioError(_end_of(process.exitcode, limits)) from error
    finally:
        clock.cancel()
        process.kill()
        process.join()
        receiver.close()


def _received(receiver: Connection, count: int) -> list[tuple[bytes, Finding]]:
    """The process's answer: a message of JSON, and one of bytes for each store."""
    answer = json.loads(receiver.recv_bytes(LARGEST))
    if "reason" in answer:
        raise AudioError(str(answer["reason"]))
    findings = [Finding(*values) for values in answer["findings"]]
    return [
        (receiver.recv_bytes(LARGEST), finding)
        for _, finding in zip(range(count), findings, strict=True)
    ]


def _end_of(status: int | None, limits: SoundLimits) -> str:
    """Why a process that said nothing has ended."""
    if status is not None and status < 0:
        number = -status
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return f"decoding it takes over {limits.seconds:g} s"
        return f"its decoder crashed ({signal.Signals(number).name})"
    return f"its decoder ended without a result (status {status}), perhaps for lack of memory"


def _decode(
    sender: Connection, path: str, stores: list[dict[str, Any]], limits: SoundLimits
) -> None:
    """In the process of its own: decode, and send what comes of it."""
    encoders = [_encoder(facts) for facts in stores]  # imports, which no limit is meant for
    _limit(limits)
    try:
        _check_length(path, limits.minutes)
        results = [encode(path) for encode in encoders]
    except AudioError as error:
        sender.send_bytes(json.dumps({"reason": str(error)}).encode())
        return
    except MemoryError:
        reason = f"decoding it takes over {limits.memory_mb:,} MB of memory"
        sender.send_bytes(json.dumps({"reason": reason}).encode())
        return
    sender.send_bytes(json.dumps({"findings": [finding for _, finding in results]}).encode())
    for content, _ in results:
        sender.send_bytes(content)


def _encoder(facts: dict[str, Any]) -> Callable[[str], tuple[bytes, Finding]]:
    """What makes the content of a store with these facts."""
    if "transform" in facts:
        from coldstart.audio.storage import content_and_finding

        return partial(content_and_finding, facts=facts)
    from coldstart.audio.codec import flac_of

    return partial(flac_of, rate=facts["sample_rate"])


def _check_length(path: str, minutes: float) -> None:
    """Raise AudioError for sound that is too long, as soon as so much of it has come."""
    with opened(path) as sound:
        left = minutes * 60 * sound.rate
        for block in sound.blocks:
            left -= len(block)
            if left < 0:
                raise AudioError(f"it is longer than {minutes:g} minutes")


def _limit(limits: SoundLimits) -> None:
    """Of processor time, memory and files; no file is written, and no core is dumped."""
    import resource

    seconds = int(limits.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    statm = Path("/proc/self/statm")
    if statm.is_file():  # Linux: what is mapped already doesn't count
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
        most = mapped + limits.memory_mb * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
