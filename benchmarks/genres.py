"""Are a track's nearest neighbours of its genre? For each built-in extractor, on real sound.

python -m benchmarks.genres tracks.csv --out runs/genres [--wheel FILE] [--run RUN ...]

Runs that hear are asked where they place each file. The tables are printed, and written to
`out`/genres.md.

The table has columns `audio`, `artist` and `genres`. Vectors are compared by cosine, as they are,
and standardised dimension by dimension. Each track is left out once. Nearest: the share of tracks
whose nearest other one is of the same genre. Precision: the mean average precision of the others of
that genre, among all others in the order of their nearness. Tracks without another of their genre
count in neither.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tabulate import tabulate

from coldstart.commands.extract import extract
from coldstart.errors import InputError
from coldstart.extractors.musicnn_weights import HASHES
from coldstart.retrieval.hearing import hear
from coldstart.runs.run import open_run
from coldstart.tables.tracks import read_tracks

Matrix = NDArray[np.floating[Any]]
LAYERS = ("pooled", "penultimate", "tags")


def cosines(vectors: Matrix, standardised: bool) -> Matrix:
    """[N, width] → [N, N]; of a track and itself, -inf."""
    if standardised:
        spread = vectors.std(0)
        # Some of a net's units hardly ever move: rounding errors would count as much as the rest.
        vectors = (vectors - vectors.mean(0)) / np.maximum(spread, 0.01 * spread.mean())
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = vectors @ vectors.T
    np.fill_diagonal(found, -np.inf)
    return found


class Shares(NamedTuple):
    """How well neighbours share a label.

    Attributes:
        nearest: share of tracks whose nearest other one has the same.
        precision: mean average precision.
        tracks: that could be right.
    """

    nearest: float
    precision: float
    tracks: int


def shares(cosine: Matrix, labels: Sequence[str]) -> Shares:
    """Of [N, N], for N labels."""
    names = np.array(labels)
    nearest, precision = [], []
    for row, name in zip(cosine, names, strict=True):
        same = (names == name)[np.argsort(-row)[:-1]]  # without the track itself
        if same.any():
            nearest.append(same[0])
            precision.append((same.cumsum() / np.arange(1, len(same) + 1))[same].mean())
    return Shares(float(np.mean(nearest)), float(np.mean(precision)), len(nearest))


def chance(labels: Sequence[str]) -> Shares:
    """The mean over 200 random orders."""
    generator, count = np.random.default_rng(0), len(labels)
    found = []
    for _ in range(200):
        order = generator.random((count, count))
        np.fill_diagonal(order, -np.inf)
        found.append(shares(order, labels))
    means = np.mean(found, 0)
    return Shares(float(means[0]), float(means[1]), int(means[2]))


def figures(of_genre: Shares, of_artist: Shares) -> list[str]:
    pairs = (of_genre.nearest, of_genre.precision, of_artist.nearest, of_artist.precision)
    return [f"{value:.2f}" for value in pairs]


def heard_by_run(run: str, table: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Where a run places each file: track_id, vector; files that can't be used are left out."""
    opened, rows = open_run(run), list[dict[str, Any]]()
    for track, file in table.select("track_id", "audio").iter_rows():
        try:
            rows.append({"track_id": track, "vector": hear(opened, folder / file).tolist()})
        except InputError as error:
            print(f"{run}: {error}")
    return pl.DataFrame(rows)


def heard_by_extractor(
    name: str, settings: dict[str, str], tracks: Path, folder: Path
) -> pl.DataFrame:
    """What an extractor hears in each file: track_id, vector."""
    audio = [str(tracks)]
    extract(name, audio=audio, out=folder, settings=settings, skip_broken=True)
    return pl.read_parquet(folder / "vectors.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/genres"))
    parser.add_argument("--wheel")
    parser.add_argument("--run", action="append", default=[])
    arguments = parser.parse_args()
    table, tracks, out = read_tracks(arguments.tracks), arguments.tracks, arguments.out
    methods: dict[str, Callable[[], pl.DataFrame]] = {
        "MFCC": partial(heard_by_extractor, "MFCC", {}, tracks, out / "MFCC")
    }
    for data in HASHES:
        for layer in LAYERS:
            settings = {"training_set": data, "layer": layer}
            if arguments.wheel:
                settings["wheel"] = arguments.wheel
            name = f"MusiCNN {data} {layer}"
            folder = out / name.replace(" ", "_")
            methods[name] = partial(heard_by_extractor, "MusiCNN", settings, tracks, folder)
    for run in arguments.run:
        methods[f"run {Path(run).name}"] = partial(heard_by_run, run, table, tracks.parent)
    rows = list[list[str]]()
    listed = dict[str, dict[str, str]]()
    for method, listen in methods.items():
        try:
            heard = listen().join(table, on="track_id", how="left")
        except InputError as error:
            print(f"{method}: {error}")
            continue
        vectors = np.array(heard["vector"].to_list(), np.float64)
        genres, artists = [names[0] for names in heard["genres"]], heard["artist"].to_list()
        titles = heard["title"].to_list()
        own = [f"{title} ({genre})" for title, genre in zip(titles, genres, strict=True)]
        for scaling in ("as they are", "standardised"):
            cosine = cosines(vectors, scaling == "standardised")
            both = shares(cosine, genres), shares(cosine, artists)
            rows.append([method, str(vectors.shape[1]), scaling, *figures(*both)])
        nearest = (own[number] for number in cosine.argmax(1))
        listed[method] = dict(zip(own, nearest, strict=True))
    random = chance(genres), chance(artists)
    rows.append(["chance", "", "", *figures(*random)])
    counts = f"{random[0].tracks} of them have another of their genre, {random[1].tracks}"
    headers = ["extractor", "width", "vectors", "genre: nearest", "genre: precision"]
    headers += ["artist: nearest", "artist: precision"]
    names = list(dict.fromkeys(name for each in listed.values() for name in each))
    columns = [[name, *(each.get(name, "") for each in listed.values())] for name in names]
    text = [
        f"{len(own)} tracks; {counts} another of their artist",
        tabulate(rows, headers, tablefmt="github", disable_numparse=True),
        "The nearest track, by standardised vectors",
        tabulate(columns, ["track (genre)", *listed], tablefmt="github"),
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "genres.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print("\n" + "\n\n".join(text))


if __name__ == "__main__":
    main()
