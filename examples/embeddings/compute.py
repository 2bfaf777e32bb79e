"""One vector a track from a pretrained audio net, for the modality `Embedding`.

    python compute.py tracks.parquet mert.parquet --net mert

Each track is heard in windows of 10 s; a window's vector is the net's mean over time, the track's
is the mean over its windows. Finished tracks are written to PARQUET.parts/, so that an interrupted
run can be resumed; sound that can't be read is left out, and listed in PARQUET.broken.csv.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
import torchaudio
from torch import Tensor
from tqdm import tqdm

from coldstart.audio.codec import AudioError, blocks
from coldstart.files import atomic
from coldstart.tables.tracks import read_tracks

Net = Callable[[Tensor], Tensor]
"""[T] mono sound, at the net's own rate → [D] vector."""
WINDOW_SECONDS = 10
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def mfcc() -> Net:
    """Mean and spread of 20 MFCCs: no pretrained net, but nothing to download. 40 wide."""
    transform = torchaudio.transforms.MFCC(22_050, n_mfcc=20, melkwargs={"n_mels": 64})

    def net(sound: Tensor) -> Tensor:
        coefficients = transform(sound)
        return torch.cat([coefficients.mean(1), coefficients.std(1)])

    return net


def mert() -> Net:
    """MERT (Li et al., ICLR 2024): mean of the 12 layers. 768 wide. `pip install transformers`.

    It runs code from the model's own repository: read it, and pin a `revision`.
    """
    from transformers import AutoModel

    model = AutoModel.from_pretrained("m-a-p/MERT-v1-95M", trust_remote_code=True)
    model = model.eval().to(DEVICE)

    def net(sound: Tensor) -> Tensor:
        # As its feature extractor does: zero mean, unit variance.
        sound = (sound - sound.mean()) / (sound.std() + 1e-7)
        layers = model(sound[None].to(DEVICE), output_hidden_states=True).hidden_states
        return torch.stack(layers[1:]).mean((0, 1, 2))

    return net


def clap() -> Net:
    """CLAP trained on music (Wu et al., ICASSP 2023). 512 wide. `pip install transformers`."""
    from transformers import AutoFeatureExtractor, ClapModel

    name = "laion/larger_clap_music"
    model = ClapModel.from_pretrained(name).eval().to(DEVICE)
    extract = AutoFeatureExtractor.from_pretrained(name)

    def net(sound: Tensor) -> Tensor:
        inputs = extract(sound.numpy(), sampling_rate=48_000, return_tensors="pt").to(DEVICE)
        vector: Tensor = model.get_audio_features(**inputs)[0]
        return vector

    return net


def muq() -> Net:
    """MuQ (Zhu et al., 2025): last layer. 1,024 wide. `pip install muq`."""
    from muq import MuQ

    model = MuQ.from_pretrained("OpenMuQ/MuQ-large-msd-iter").eval().to(DEVICE)
    return lambda sound: model(sound[None].to(DEVICE)).last_hidden_state.mean((0, 1))


def musicnn() -> Net:
    """MusiCNN (Pons and Serra, 2019): penultimate layer. 200 wide.

    `pip install essentia-tensorflow`; its weights, msd-musicnn-1.pb of essentia.upf.edu/models,
    must lie in the current folder.
    """
    from essentia.standard import TensorflowPredictMusiCNN

    model = TensorflowPredictMusiCNN(graphFilename="msd-musicnn-1.pb", output="model/dense/BiasAdd")
    return lambda sound: torch.from_numpy(model(sound.numpy())).mean(0)


NETS: dict[str, tuple[int, Callable[[], Net]]] = {
    "mfcc": (22_050, mfcc),
    "mert": (24_000, mert),
    "clap": (48_000, clap),
    "muq": (24_000, muq),
    "musicnn": (16_000, musicnn),
}
"""Name → the sample rate of its input, and the function that loads it."""

SCHEMA = pl.Schema({"track_id": pl.String(), "vector": pl.List(pl.Float32), "reason": pl.String()})


def windows(path: Path, rate: int) -> Iterator[Tensor]:
    """Mono windows of a file; the last one only if it is the first or at least half a window."""
    size, rest = WINDOW_SECONDS * rate, np.zeros(0, np.float32)
    first = True
    for block in blocks(path, rate):
        rest = np.concatenate([rest, block])
        while len(rest) >= size:
            yield torch.from_numpy(rest[:size].copy())
            rest, first = rest[size:], False
    if len(rest) >= size // 2 or (first and len(rest)):
        yield torch.from_numpy(rest)


def vector_of(path: Path, net: Net, rate: int) -> list[float]:
    """A track's vector: the mean over its windows."""
    vectors = [net(sound).float().cpu() for sound in windows(path, rate)]
    return torch.stack(vectors).mean(0).tolist()


def compute(tracks: Path, out: Path, name: str, each: int = 200) -> None:
    """Write `track_id` and `vector` of each track that has sound."""
    rate, load = NETS[name]
    parts = Path(f"{out}.parts")
    frames = [pl.read_parquet(part) for part in sorted(parts.glob("*.parquet"))]
    done = {track for frame in frames for track in frame["track_id"]}
    table = read_tracks(tracks).drop_nulls("audio").select("track_id", "audio")
    waiting = [row for row in table.iter_rows() if row[0] not in done]
    net = load()
    with torch.inference_mode(), tqdm(total=len(waiting), unit="track") as bar:
        for start in range(0, len(waiting), each):
            rows: list[tuple[str, list[float] | None, str | None]] = []
            for track, audio in waiting[start : start + each]:
                try:
                    rows.append((track, vector_of(tracks.parent / audio, net, rate), None))
                except AudioError as error:
                    rows.append((track, None, str(error)))
                bar.update()
            frames.append(pl.DataFrame(rows, SCHEMA, orient="row"))
            with atomic(parts / f"{len(frames):06d}.parquet") as temporary:
                frames[-1].write_parquet(temporary)
    vectors = pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)
    with atomic(out) as temporary:
        vectors.drop_nulls("vector").select("track_id", "vector").write_parquet(temporary)
    broken = vectors.drop_nulls("reason").select("track_id", "reason")
    if len(broken):
        broken.write_csv(f"{out}.broken.csv")
        print(f"{len(broken):,} tracks can't be heard: {out}.broken.csv says why", file=sys.stderr)
    shutil.rmtree(parts, ignore_errors=True)
    print(f"wrote {out}\nnext: coldstart shard {tracks} --embeddings.{name} {out} --out shards")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tracks", type=Path, help="table of tracks with a column audio")
    parser.add_argument("out", type=Path, help="Parquet file to write")
    parser.add_argument("--net", choices=NETS, default="mert")
    arguments = parser.parse_args()
    compute(arguments.tracks, arguments.out, arguments.net)
