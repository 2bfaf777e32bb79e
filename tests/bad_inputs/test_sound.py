"""Sound files that can't be used: cut short, with headers that can't be true, or no files."""

import io
import os
import re
import struct
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from bad_inputs.verbs import Refusal, refusal_of
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.audio import chunks
from coldstart.audio.codec import AudioError, blocks, to_flac
from coldstart.commands.shard import shard
from coldstart.errors import InputError

RATE, SECONDS = 8000, 2
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and devices")

FORMATS = [
    ("WAV", "PCM_16", "LITTLE"),
    ("WAV", "FLOAT", "BIG"),  # RIFX
    ("WAV", "IMA_ADPCM", "LITTLE"),
    ("WAVEX", "PCM_24", "LITTLE"),
    ("RF64", "PCM_16", "LITTLE"),
    ("RF64", "FLOAT", "LITTLE"),
    ("W64", "PCM_16", "LITTLE"),
    ("W64", "MS_ADPCM", "LITTLE"),
    ("AIFF", "PCM_16", "BIG"),
    ("AIFF", "PCM_24", "LITTLE"),  # AIFC, `sowt`
    ("AIFF", "FLOAT", "FILE"),
    ("AIFF", "ULAW", "FILE"),
    ("AU", "PCM_16", "BIG"),
    ("AU", "FLOAT", "LITTLE"),
    ("CAF", "PCM_16", "BIG"),
    ("CAF", "FLOAT", "LITTLE"),
    ("SVX", "PCM_S8", "BIG"),
    ("VOC", "PCM_16", "LITTLE"),
    ("MAT4", "PCM_16", "LITTLE"),
    ("AVR", "PCM_16", "FILE"),
    ("AVR", "PCM_S8", "FILE"),
    ("NIST", "PCM_16", "BIG"),
    ("NIST", "PCM_24", "LITTLE"),
    ("NIST", "ALAW", "FILE"),
    ("WVE", "ALAW", "FILE"),
    ("MPC2K", "PCM_16", "FILE"),
    ("FLAC", "PCM_16", "FILE"),
    ("OGG", "VORBIS", "FILE"),
    ("MP3", "MPEG_LAYER_III", "FILE"),
]


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    return refusal_of(tmp_path, monkeypatch, capsys)


def wave(seconds: float = SECONDS) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    tone = 0.4 * np.sin(np.arange(int(seconds * RATE)) * 0.05)
    return np.asarray(tone + 0.01 * np.random.default_rng(0).standard_normal(len(tone)), np.float32)


def sound(kind: str, subtype: str, endian: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave(), RATE, subtype, "FILE" if kind == "FLAC" else endian, kind)
    return file.getvalue()


def wav(rate: int = RATE, size: int | None = None, bits: int = 16, code: int = 1) -> bytes:
    """A WAV of 2 s whose header says what it wants."""
    data = (wave() * 20_000).astype("<i2").tobytes()
    size = len(data) if size is None else size
    width = bits // 8
    form = struct.pack("<HHIIHH", code, 1, rate, rate * width % 2**32, width, bits)
    return (
        b"RIFF\0\0\0\0WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + struct.pack("<4sI", b"data", size)
        + data
    )


# Cut short


@pytest.mark.parametrize(("kind", "subtype", "endian"), FORMATS, ids=lambda value: str(value))
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_file_that_was_cut_short_is_refused_and_the_whole_is_not(
    kind: str, subtype: str, endian: str, share: float, tmp_path: Path
) -> None:
    content = sound(kind, subtype, endian)
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(content)
    assert sum(map(len, blocks(path, RATE))) == pytest.approx(SECONDS * RATE, rel=0.1)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(AudioError, match=r"truncated|damaged"):
        to_flac(path, RATE)


@pytest.mark.parametrize("kind", ["AIFF", "AU", "W64", "RF64", "CAF", "WAV"])
@settings(max_examples=10, deadline=None)
@given(share=st.floats(0.35, 0.93))
def test_wherever_it_was_cut(
    kind: str, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = sound(kind, "PCM_16", "LITTLE" if kind in ("W64", "RF64", "WAV") else "BIG")
    path = tmp_path_factory.getbasetemp() / f"cut.{kind.lower()}"
    path.write_bytes(content[: int(len(content) * share)])
    assert chunks.share_of(path) == pytest.approx(share, abs=0.15)
    with pytest.raises(AudioError, match=r"^truncated: \d\.\d s of 2\.\d s can be decoded"):
        to_flac(path, RATE)


@pytest.mark.parametrize("kind", ["AIFF", "AU", "W64", "RF64", "WAV"])
def test_a_few_bytes_less_are_no_loss(kind: str, tmp_path: Path) -> None:
    content = sound(kind, "PCM_16", "LITTLE" if kind in ("W64", "RF64", "WAV") else "BIG")
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(content[:-200])
    assert to_flac(path, RATE)


@pytest.mark.parametrize("size", [0x7EFF0000, 0x7FFFF000, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", ["wav", "au", "aiff"])
def test_a_pipe_s_header_without_a_length_is_no_loss(kind: str, size: int, tmp_path: Path) -> None:
    """What writes to a pipe can't go back to the header, and leaves a huge number in it."""
    if kind == "wav":
        content = wav(size=size)
    else:
        content = sound(kind.upper(), "PCM_16", "BIG")
        place = 8 if kind == "au" else content.index(b"SSND") + 4
        content = content[:place] + size.to_bytes(4) + content[place + 4 :]
    (tmp_path / f"x.{kind}").write_bytes(content)
    assert chunks.share_of(tmp_path / f"x.{kind}") == 1
    assert to_flac(tmp_path / f"x.{kind}", RATE)


@given(
    content=st.binary(max_size=120),
    magic=st.sampled_from(
        [b"RIFF", b"RF64", b"FORM", b"riff", b"caff", b".snd", b"2BIT", b"\1\4", b"NIST_1A\n"]
    ),
)
@settings(deadline=None)
def test_whatever_a_header_says_it_has_a_share(
    content: bytes, magic: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "header"
    form = {b"RIFF": b"WAVE", b"RF64": b"WAVE", b"FORM": b"AIFF"}.get(magic, b"")
    path.write_bytes(magic + bytes(4) + form + content)
    assert 0 <= chunks.share_of(path) <= 1


# Headers that can't be true


def floats(values: list[float]) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, np.resize(np.array(values, np.float32), 2 * RATE), RATE, "FLOAT", format="WAV"
    )
    return file.getvalue()


HEADERS: dict[str, tuple[bytes, str]] = {
    "1 Hz": (wav(rate=1), "its header says 1 Hz, which is no sound's sample rate"),
    "999 Hz": (wav(rate=999), "its header says 999 Hz"),
    "0 Hz": (wav(rate=0), "not audio that can be decoded|can't be decoded|damaged"),
    "4 billion Hz": (wav(rate=2**32 - 1), "not audio that can be decoded|can't be decoded|damaged"),
    "2 billion Hz": (wav(rate=2**31 - 1), "only 0.00 s long"),
    "64 bits": (wav(bits=64), "can't be decoded|only|damaged|not audio"),
    "0 bits": (wav(bits=0), "damaged|can't be decoded|not audio"),
    "a code of no codec": (wav(code=0x7777), "damaged|can't be decoded|not audio"),
    "no length": (wav(size=0), "only 0.00 s long"),
    "infinities": (floats([float("inf"), 0.1]), "no finite numbers"),
    "no numbers": (floats([float("nan"), 0.1]), "no finite numbers"),
    "huge floats": (floats([3e38, -3e38, 0.0]), "scale of no sound"),
    "tiny floats": (floats([1e-40, -1e-40]), "silent: no sample is louder"),
    "empty": (b"", "the file is empty"),
    "a name alone": (b"RIFF", "not audio that can be decoded"),
    "a chunk before itself": (
        b"caff\0\1\0\0" + b"free" + (2**63 - 1).to_bytes(8) + bytes(100),
        "not audio|damaged|can't be",
    ),
    "a chunk of negative length": (
        b"caff\0\1\0\0" + b"free" + (2**64 - 100).to_bytes(8) + bytes(100),
        "not audio|damaged|can't be",
    ),
    "far chunk": (b"FORM\xff\xff\xff\xffAIFF" + b"COMM\xff\xff\xff\xff" + bytes(50), "not audio"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_cannot_be_true_is_refused(case: str, tmp_path: Path) -> None:
    content, expected = HEADERS[case]
    path = tmp_path / ("x.caf" if content.startswith(b"caff") else "x.wav")
    path.write_bytes(content)
    with pytest.raises(AudioError, match=expected):
        to_flac(path, RATE)


def test_bytes_that_are_shifted_in_a_part_have_an_end(tmp_path: Path) -> None:
    """Swapping the bytes of one part would make the other noise, and so on for ever."""
    tone = (wave(3) * 20_000).astype("<i2")
    right, wrong = tone, tone.byteswap()
    soundfile.write(tmp_path / "x.wav", np.concatenate([wrong, right]), RATE)
    with pytest.raises(AudioError, match="damaged: a part of its bytes is shifted"):
        to_flac(tmp_path / "x.wav", RATE)


# No files

PLACES = {
    "pipe": "it is a pipe, not a file; save what it gives",
    "/dev/zero": "it is a device, not a file; save what it gives",
    "/dev/null": "it is a device, not a file",
    ".": "it is a folder, not a file",
    "gone.wav": "there is no such file",
    "circle": "the system can't open it",
    "a" * 300 + ".wav": "the system can't open it",
}


@posix
@pytest.mark.parametrize("path", PLACES)
def test_what_is_no_file_is_refused_with_its_track_or_left_out(
    path: str, tmp_path: Path, refusal: Refusal
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    soundfile.write(tmp_path / "good.wav", wave(), RATE)
    rows = {"track_id": ["a", "b", "c"], "title": ["t"] * 3, "artist": ["x", "y", "z"]}
    audio = {"audio": [path, "good.wav", "good.wav"]}
    pl.DataFrame(rows | audio).write_csv(tmp_path / "sound.csv")
    args = ["sound.csv", "--splits", "splits.csv", "--out", "shards", "--workers", "1"]
    message = refusal("shard", *args)
    assert re.search(r"sound\.csv, track 'a', field 'audio': ", message)
    assert PLACES[path] in message
    assert "--skip-broken" in message
    shard("sound.csv", splits="splits.csv", out="other", workers=1, skip_broken=True)
    assert PLACES[path].partition(";")[0] in (tmp_path / "other" / "broken.csv").read_text()


@pytest.mark.parametrize("kind", ["aiff", "au", "w64", "rf64", "caf"])
def test_a_file_that_was_cut_short_is_refused_with_its_track(
    kind: str, tmp_path: Path, refusal: Refusal
) -> None:
    order = "BIG" if kind in ("aiff", "au", "caf") else "LITTLE"
    content = sound(kind.upper(), "PCM_16", order)
    (tmp_path / f"cut.{kind}").write_bytes(content[: len(content) // 2])
    rows = {"track_id": ["a"], "title": ["t"], "artist": ["x"], "audio": [f"cut.{kind}"]}
    pl.DataFrame(rows).write_csv(tmp_path / "sound.csv")
    message = refusal("shard", "sound.csv", "--splits", "splits.csv", "--out", "shards")
    assert re.search(
        rf"sound\.csv, track 'a', field 'audio': cut\.{kind}: truncated: \d\.\d s of 2\.0 s",
        message,
    )


@pytest.mark.parametrize("content", [b"", b"PAR1PAR1", b"no report", None])
def test_a_damaged_report_of_sound_is_refused_by_name(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "good.wav", wave(), RATE)
    rows = {"track_id": ["a", "b"], "title": ["t"] * 2, "artist": ["x", "y"]}
    table = pl.DataFrame(rows).with_columns(audio=pl.lit("good.wav"))
    table.write_csv("sound.csv")
    pl.DataFrame({"track_id": ["a", "b"], "split": ["train", "val"]}).write_csv("splits.csv")
    shard("sound.csv", splits="splits.csv", out="shards", workers=1)
    if content is None:
        pl.DataFrame({"a": [1]}).write_parquet("shards/audio_report.parquet")
    else:
        Path("shards/audio_report.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"audio_report\.parquet: .* delete it: the dataset works"):
        shard("sound.csv", splits="splits.csv", out="shards", workers=1, overwrite=True)
