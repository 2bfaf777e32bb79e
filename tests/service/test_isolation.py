"""Strangers' sound: a file that harms its decoder harms nothing else."""

import io
import os
import signal
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import ROOT, music

from coldstart.audio.codec import flac_of
from coldstart.audio.sound import AudioError
from coldstart.audio.storage import content_and_finding, store_facts
from coldstart.service import isolation
from coldstart.service.isolation import SoundLimits, isolated_contents
from coldstart.service.uploads import Decoder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

FACTS = {"sample_rate": 22_050}
REAL = sorted((ROOT.parent / "shared" / "data" / "audio").glob("*.mp3"))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound"
    soundfile.write(path, music(3.0), 22_050, format="WAV")
    return path


def test_it_gives_what_a_store_keeps(sound: Path) -> None:
    spectrogram = store_facts("mel", 22_050, 512, 32, 30.0, 8)
    assert isolated_contents(sound, [FACTS], SoundLimits())  # what is imported for it doesn't do
    flac, mel = isolated_contents(sound, [FACTS, spectrogram], SoundLimits())
    assert flac == flac_of(sound, 22_050)
    assert mel == content_and_finding(sound, spectrogram)


@pytest.mark.skipif(not REAL, reason="the real sound isn't there")
def test_a_real_mp3_is_the_same_bit_for_bit() -> None:
    assert isolated_contents(REAL[0], [FACTS], SoundLimits())[0] == flac_of(REAL[0], 22_050)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"no sound at all", "not audio"), (b"RIFF\xff\xff\xff\xffWAVE", "not audio")],
)
def test_what_is_no_sound_is_a_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "sound"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=words):
        isolated_contents(path, [FACTS], SoundLimits())


def test_long_sound_that_packs_small_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound"
    soundfile.write(path, np.zeros(8000 * 600, np.int16), 8000, format="FLAC")
    assert path.stat().st_size < 100_000
    with pytest.raises(AudioError, match="longer than 5 minutes"):
        isolated_contents(path, [FACTS], SoundLimits(minutes=5))


def test_memory_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "sound"
    soundfile.write(path, music(120.0), 22_050, format="WAV")
    with pytest.raises(AudioError, match="memory"):
        isolated_contents(path, [FACTS], SoundLimits(memory_mb=3))


def crash(_: object, path: str, *__: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(_: object, path: str, *__: object) -> None:
    while True:
        pass


def lie(sender: isolation.Connection, *_: object) -> None:
    """What a decoder that a file has taken over might send: a pickle, and no end."""
    sender.send_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")


@pytest.mark.parametrize(
    ("harm", "words"), [(crash, "SIGSEGV"), (hang, "over 1 s"), (lie, "without a result")]
)
def test_a_decoder_that_is_taken_over_harms_itself_alone(
    harm: object, words: str, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "_decode", harm)
    monkeypatch.setattr(isolation, "GRACE", 0.5)
    with pytest.raises(AudioError, match=words):
        isolated_contents(sound, [FACTS], SoundLimits(seconds=1 if harm is hang else 60))
    monkeypatch.undo()
    assert isolated_contents(sound, [FACTS], SoundLimits())


def test_decoded_sound_is_kept_for_the_next_question(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(SoundLimits())
    first = decoder.decode(sound, FACTS | {"mean": 0.5})
    monkeypatch.setattr("coldstart.service.uploads.isolated_contents", None)
    assert decoder.decode(sound, FACTS) == first
    buffer = io.BytesIO(first)
    assert soundfile.info(buffer).samplerate == 22_050


def test_a_header_that_promises_terabytes_takes_none(tmp_path: Path) -> None:
    path = tmp_path / "sound"
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0xFFFFFFF0, b"WAVE", b"fmt ", 16, 1, 2,
                         44_100, 176_400, 4, 16, b"data", 0xFFFFFFC0)  # fmt: skip
    path.write_bytes(header + bytes(1000))
    with pytest.raises(AudioError):
        isolated_contents(path, [FACTS], SoundLimits())
