"""Files that libsndfile doesn't read: FFmpeg makes them here, and none is in the repository."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile

from coldstart.audio import ffmpeg
from coldstart.audio.codec import AudioError, blocks, flac_of, to_flac
from coldstart.commands.shard import shard
from coldstart.errors import InputError

av = pytest.importorskip("av")

CASES = {  # name: codec, rate, channels, with a picture
    "a.m4a": ("aac", 44_100, 1, False),
    "b.m4a": ("alac", 44_100, 2, False),
    "c.mp4": ("libopus", 48_000, 1, False),
    "d.wma": ("wmav2", 44_100, 2, False),
    "e.mp4": ("aac", 48_000, 2, True),
    "f.mkv": ("aac", 44_100, 1, True),
    "g.webm": ("libopus", 48_000, 2, False),
    "h.wv": ("wavpack", 44_100, 1, False),
    "i.aac": ("aac", 22_050, 1, False),
    "j.mov": ("pcm_s24le", 44_100, 2, True),
}


def wave_of(seconds: float, rate: int, hz: float = 440.0) -> np.ndarray[Any, Any]:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    return wave.astype(np.float32)


def write(
    path: Path,
    codec: str,
    rate: int,
    channels: int = 1,
    picture: bool = False,
    seconds: float = 3,
    sign: int = 1,
    options: dict[str, str] | None = None,
) -> Path:
    """A sine, in any container and codec; `sign` is that of the second channel."""
    layout = {1: "mono", 2: "stereo"}[channels]
    wave = wave_of(seconds, rate)
    wave = np.stack([wave, sign * wave][:channels])
    with av.open(
        str(path), "w", format="adts" if path.suffix == ".aac" else None, options=options
    ) as file:
        video: Any = file.add_stream("mpeg4", rate=10) if picture else None
        if video:
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        sound = file.add_stream(codec, rate=rate, layout=layout)
        sound.bit_rate = 128_000
        for number in range(int(10 * seconds) + 10 if picture else 0):  # longer than the sound
            black = np.zeros((64, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(black, format="rgb24")
            frame.pts = number
            file.mux(video.encode(frame))
        if video:
            file.mux(video.encode(None))
        resampler = av.AudioResampler(sound.codec_context.format.name, layout, rate)
        for start in range(0, wave.shape[1], 1920):
            part = np.ascontiguousarray(wave[:, start : start + 1920])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.rate, frame.pts = rate, start
            for piece in resampler.resample(frame):
                file.mux(sound.encode(piece))
        for piece in resampler.resample(None):
            file.mux(sound.encode(piece))
        file.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("name", CASES)
def test_what_libsndfile_does_not_read_is_decoded_as_the_others_are(
    tmp_path: Path, name: str
) -> None:
    codec, rate, channels, picture = CASES[name]
    path = write(tmp_path / name, codec, rate, channels, picture)
    flac, finding = flac_of(path, 16_000)
    wave, got_rate = soundfile.read(io.BytesIO(flac))
    assert (got_rate, wave.ndim) == (16_000, 1)
    assert len(wave) / 16_000 == pytest.approx(3, abs=0.15)  # with the encoder's delay
    assert (finding.rate, finding.channels, finding.text) == (rate, channels, "")
    middle = wave[8000:24_000]
    assert np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() == 440
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.03)


def test_lossless_codecs_give_the_same_flac_as_a_wav(tmp_path: Path) -> None:
    integers = np.rint(wave_of(3, 22_050) * 32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", integers, 22_050)
    write(tmp_path / "a.m4a", "alac", 22_050)
    ours, _ = soundfile.read(io.BytesIO(to_flac(tmp_path / "a.m4a")), dtype="int16")
    expected, _ = soundfile.read(io.BytesIO(to_flac(tmp_path / "a.wav")), dtype="int16")
    assert np.abs(ours[: len(expected)].astype(int) - expected).max() <= 1


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    made = to_flac(write(tmp_path / "a.m4a", "aac", 44_100))
    for name in ("a.mp3", "a.wav", "a.raw", "a"):
        (tmp_path / name).write_bytes((tmp_path / "a.m4a").read_bytes())
        assert to_flac(tmp_path / name) == made
    soundfile.write(tmp_path / "b.wav", wave_of(3, 8000), 8000)
    made = to_flac(tmp_path / "b.wav")
    (tmp_path / "b.wav").replace(tmp_path / "b.m4a")
    assert to_flac(tmp_path / "b.m4a") == made


def test_the_same_checks_are_made(tmp_path: Path) -> None:
    write(tmp_path / "opposite.m4a", "alac", 44_100, 2, sign=-1)
    flac, finding = flac_of(tmp_path / "opposite.m4a", 22_050)
    assert "opposite phase" in finding.done
    assert np.abs(soundfile.read(io.BytesIO(flac))[0]).max() == pytest.approx(0.5, abs=0.01)
    write(tmp_path / "short.m4a", "aac", 44_100, seconds=0.2)
    with pytest.raises(AudioError, match="only 0"):
        to_flac(tmp_path / "short.m4a")


def test_memory_is_flat_and_blocks_have_no_seams(tmp_path: Path) -> None:
    path = write(tmp_path / "a.m4a", "alac", 44_100, seconds=70)
    parts = list(blocks(path, 22_050))
    assert max(map(len, parts)) <= 21 * 22_050
    wave = np.concatenate(parts)
    np.testing.assert_allclose(wave[500:-500], wave_of(70, 22_050)[500:-500], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.m4a", "aac", {}),
        ("b.m4a", "aac", {"movflags": "faststart"}),
        ("c.mkv", "aac", {}),
        ("d.wma", "wmav2", {}),
        ("e.wv", "wavpack", {}),
    ],
)
def test_files_that_were_cut_are_refused(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write(tmp_path / name, codec, 44_100, seconds=10, options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with pytest.raises(AudioError, match="truncated"):
        to_flac(path)


def test_what_is_no_sound_gets_a_reason_and_opens_no_other_file(tmp_path: Path) -> None:
    write(tmp_path / "a.aac", "aac", 44_100)
    video = tmp_path / "silent.mp4"
    with av.open(str(video), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\na.aac\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "script.m4a").write_text("ffconcat version 1.0\nfile a.aac\n")
    (tmp_path / "random.m4a").write_bytes(np.random.default_rng(0).bytes(50_000))
    (tmp_path / "stub.m4a").write_bytes(bytes(4) + b"ftypM4A " + bytes(20))
    with pytest.raises(AudioError, match="without a sound track"):
        to_flac(video)
    for name in ("list.m3u8", "script.m4a", "random.m4a"):
        with pytest.raises(AudioError, match="not audio that can be decoded"):
            to_flac(tmp_path / name)
    with pytest.raises(AudioError, match="can't be opened: damaged or truncated"):
        to_flac(tmp_path / "stub.m4a")


def without_ffmpeg(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "av", None)


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.m4a", "aac", 44_100)
    (tmp_path / "a.mp3").write_bytes((tmp_path / "a.m4a").read_bytes())
    (tmp_path / "b.txt").write_text("this is no music\n" * 100)
    soundfile.write(tmp_path / "c.wav", wave_of(3, 8000), 8000)
    without_ffmpeg(monkeypatch)
    for name in ("a.m4a", "a.mp3"):
        with pytest.raises(AudioError, match=r"MP4.*pip install 'coldstart\[ffmpeg\]'"):
            to_flac(tmp_path / name)
    with pytest.raises(AudioError, match="not audio") as error:
        to_flac(tmp_path / "b.txt")
    assert "ffmpeg" not in str(error.value)
    assert to_flac(tmp_path / "c.wav")


def test_files_that_were_left_out_are_stored_once_the_extra_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.m4a", "aac", 44_100)
    soundfile.write(tmp_path / "b.wav", wave_of(3, 8000), 8000)
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("track_id,title,artist,audio\n1,A,A,a.m4a\n2,B,B,b.wav\n")

    def stored(skip: bool) -> int:
        made = shard(table, out=out, workers=1, skip_broken=skip)
        return sum(made.modalities["audio"]["shards"]["test"])

    with monkeypatch.context() as patch:
        without_ffmpeg(patch)
        with pytest.raises(InputError, match=r"track '1'.*coldstart\[ffmpeg\]"):
            stored(False)
        assert stored(True) == 1
        report = pl.read_parquet(out / "audio_report.parquet")
        assert report.filter(track_id="1")["done"][0].startswith("left out: an MP4")
        assert stored(True) == 1
    assert stored(False) == 2
    assert pl.read_parquet(out / "audio_report.parquet")["done"].to_list() == ["", ""]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"ID3\x03", None),
        (b"\xff\xfb\x90\xc4", None),
        (b"\xff\xf3\x90\xc4", None),
        (b"\xff\xf1\x50\x80", "an AAC file"),
        (b"RIFF1234WAVE", None),
        (b"RIFF1234AVI ", "an AVI video"),
        (b"", None),
        (b"fLaC", None),
        (b"OggS", None),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert ffmpeg.kind_of(head) == kind
