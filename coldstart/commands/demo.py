"""The verb `demo`: the whole path on an invented catalogue, from a listening log to listeners for
tracks that nobody has played.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from coldstart.commands.factorize import factorize
from coldstart.commands.fit import fit
from coldstart.commands.report import report
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.commands.test import test
from coldstart.files import StrPath, writable, write_json

if TYPE_CHECKING:
    from coldstart.evaluation.results import Results, Row
    from coldstart.reporting.charts import DotRow
    from coldstart.retrieval.recommender import Recommender

log = logging.getLogger(__name__)


class CatalogueSize(NamedTuple):
    """Of a catalogue."""

    tracks: int
    users: int


SIZES = {False: CatalogueSize(3000, 1500), True: CatalogueSize(600, 600)}
"""Without sound, and with it, which takes longer."""

RECIPE: dict[str, Any] = {"factors": 256, "shrinkage": 0.15, "axes": "scores"}
"""What the recommended recipes are made for."""

NET = {
    "model.encoders.audio.net": "statistics",
    "model.encoders.audio.patch_seconds": 10,
    "model.encoders.audio.hop": 1.0,
    "model.encoders.audio.frame_hop": 1024,
    "model.encoders.audio.bins": 72,
    "model.encoders.audio.fmin": 65.4,
    "model.encoders.audio.dim": 128,
    "model.target.length": True,
    "data.batch_size": 32,
    "trainer.max_epochs": 20,
    "trainer.check_val_every_n_epoch": 2,
}
"""A net of our own on a laptop's CPU."""

MFCC = {
    "mfcc": {
        "class_path": "Embedding",
        "init_args": {"modality": "mfcc", "standardize": True, "normalize": False},
    },
    "genres": {"class_path": "Genres", "init_args": {"hidden": []}},
}
"""Encoders of MFCC statistics in the place of a pretrained net."""

SHOWN = 3
"""New tracks whose listeners are named."""

NAMED = 20
"""Listeners that are looked at for each."""


def demo(
    *,
    out: StrPath = "runs/demo",
    tracks: int | None = None,
    users: int | None = None,
    seed: int = 0,
    sound: bool = False,
) -> dict[str, Any]:
    """Run the whole path on an invented catalogue: about half a minute on two cores.

    Writes a catalogue with a known truth, splits, factors, shards, and a run into `out`; prints how
    well new tracks are ranked beside floors and rivals, who would hear three of them and why, and
    writes a picture of that table and a page to look at. What the verbs say goes to `out`/demo.log.
    A demo that was interrupted is continued.

    Args:
        out: folder to write.
        tracks: size of the catalogue: 3,000, with sound 600.
        users: number of listeners: 1,500, with sound 600.
        seed: of everything.
        sound: render the tracks, and hear them as well: by MFCC statistics, by the pretrained net
            MusiCNN if its weights are there (`coldstart extract MusiCNN` fetches them), and by a
            net that learns from these tracks alone. It takes some ten minutes and 1.5 GB.

    Returns:
        What is also written to `out`/demo.json: the rows of the table, and the seconds taken.
    """
    from coldstart.evaluation.results import read_results
    from coldstart.reporting.pictures import dot_picture

    root, began = writable(out), time.perf_counter()
    size = CatalogueSize(tracks or SIZES[sound].tracks, users or SIZES[sound].users)
    print(f"An invented catalogue: {size.tracks:,} tracks, {size.users:,} listeners, seed {seed}.")
    print("A tenth of the tracks are new: their content is known, and none of their plays.\n")
    runs = _runs(root, size, seed, sound)
    results = {name: read_results(run / "results.json") for name, run in runs.items()}
    rows, drawn = _table(results)
    _new_tracks(root / "kernel")
    about = next(iter(results.values())).about
    with _quietly(root, "a picture of the table"):
        dot_picture(
            root / "picture.png",
            drawn,
            f"NDCG@{about['k']} of {about['candidates']:,} new tracks, 95 % intervals "
            f"(n = {about['users']:,} listeners)",
        )
    with _quietly(root, "a page to look at"):
        page = report(run=root / "kernel", out=root / "report.html", play=sound, overwrite=True)
    taken = time.perf_counter() - began
    print(f"\nThe table as a picture: {root / 'picture.png'}")
    print(f"The page to look at: {page}")
    print(f"All of it is in {root} ({taken:.0f} s); what each step said is in {root / 'demo.log'}.")
    print(f"next: coldstart recommend --run {root / 'kernel'} --user u00000 --why")
    summary: dict[str, Any] = {
        "seconds": round(taken, 1),
        **size._asdict(),
        "seed": seed,
        "rows": [row._asdict() for row in rows],
    }
    write_json(root / "demo.json", summary)
    return summary


def _runs(root: Path, size: CatalogueSize, seed: int, sound: bool) -> dict[str, Path]:
    """Make all there is to make; name of a row → its run."""
    from coldstart.datasets.synthetic import make_catalogue
    from coldstart.extractors.musicnn_weights import has_weights

    catalogue, splits, factors = root / "catalogue", root / "splits.parquet", root / "factors"
    with _quietly(root, "invent music and listeners"):
        make_catalogue(catalogue, **size._asdict(), seed=seed, audio=sound)
    tracks, log = catalogue / "tracks.parquet", catalogue / "listens.parquet"
    with _quietly(root, "hold tracks out, factorise the log"):
        if not splits.exists():
            split(tracks, out=splits, seed=seed)
        if not (factors / "factors.json").exists():
            factorize(log, out=factors, splits=splits, seed=seed, **RECIPE)
    shards, mgp = root / "shards", {"mgp": str(catalogue / "mgp.parquet")}
    stored: dict[str, Any] = {"sample_rate": 11_025} if sound else {}
    with _quietly(root, "write shards"):
        shard(tracks, out=shards, splits=splits, attributes=mgp, seed=seed, **stored)
    data = {"data.shards": str(shards), "data.factors": str(factors), "seed_everything": seed}

    def fitted(name: str, config: str, settings: Mapping[str, Any]) -> Path:
        with _quietly(root, f"fit and test {name}"):
            _fit(config, root / name, {**data, **settings})
        return root / name

    runs = {"attributes and genres": fitted("kernel", "kernel.yaml", {})}
    if sound:
        heard: dict[str, dict[str, Any]] = {"MFCC": {"model.encoders": MFCC}}
        if has_weights("MTT"):
            heard["MusiCNN"] = {}
        for extractor, settings in heard.items():
            name = extractor.lower()
            with _quietly(root, f"hear the tracks: {extractor}"):
                shard(tracks, out=shards, extract=extractor, modalities=[], seed=seed)
            runs[f"sound ({extractor}) and genres"] = fitted(name, "listened.yaml", settings)
        runs["sound (a net of its own)"] = fitted("net", "audio.yaml", NET)
    return runs


def _fit(config: str, run: Path, settings: Mapping[str, Any]) -> None:
    """Fit and test, unless an earlier demo has; a fit that was interrupted starts anew."""
    if (run / "results.json").exists():
        return
    shutil.rmtree(run, ignore_errors=True)
    fit(config, run=str(run), overrides=settings)
    test(run)


@contextmanager
def _quietly(root: Path, what: str) -> Iterator[None]:
    """Do a step; what it says goes to demo.log. One line on stderr says that it was done."""
    from coldstart.reporting.log import output_to, shown
    from coldstart.reporting.progress import Progress

    began = time.perf_counter()
    root.mkdir(parents=True, exist_ok=True)
    with Progress(what), output_to(root / "demo.log"), shown():
        print(f"── {what}")
        yield
    seconds = time.perf_counter() - began
    log.info(f"{seconds:4.0f} s  {what}")


def _table(results: Mapping[str, Results]) -> tuple[list[Row], list[DotRow]]:
    """Print each run beside its best rival, and the floors.

    Returns:
        The rows of all methods; and what was printed, to be drawn.
    """
    from tabulate import tabulate

    from coldstart.evaluation.evaluate import OURS
    from coldstart.evaluation.results import plain_method
    from coldstart.reporting.charts import Dot, DotRow
    from coldstart.summary.methods import SERIES, role_of

    first = next(iter(results.values()))
    k, chance = first.about["k"], [row for row in first.rows if row.input in ("–", "artist")]
    shown: list[tuple[str, str, Row]] = []
    for name, result in results.items():
        own = next(row for row in result.rows if row.method == OURS)
        rivals = [row for row in result.rows if role_of(row.method) == "rival"]
        best = max(rivals, key=lambda row: row.ndcg or 0.0)
        shown += [
            ("coldstart", name, own),
            (f"best rival: {plain_method(best.method)}", name, best),
        ]
    shown += [(row.method, "", row) for row in chance]
    cells = [
        [method, reads, row.ndcg, f"{row.ndcg_low:.3f}–{row.ndcg_high:.3f}", row.recall]
        for method, reads, row in shown
    ]
    headers, about = ["method", "reads", f"NDCG@{k}", "95 %", f"Recall@{k}"], first.about
    tracks, listeners = f"{about['candidates']:,} new tracks", f"{about['users']:,} listeners"
    print(f"\nHow well {tracks} are ranked for each of {listeners}:\n")
    print(tabulate(cells, headers=headers, tablefmt="simple", floatfmt=".3f"))
    if beside := about["beside_the_best_rival"]:
        interval = f"{beside['mean']:+.3f} ({beside['low']:+.3f} to {beside['high']:+.3f}, 95 %)"
        rival = plain_method(beside["rival"])
        print(f"\nBeside {rival} the first row has {interval}: by bootstrap over")
        print("listeners, paired. No choice was made by these tracks. Invented tastes are linear")
        print("in what a track is like, which suits linear rivals; on real listens (Last.fm) the")
        print("same recipe is 0.016 ahead of the best one.")
    drawn = [
        DotRow(
            f"{method}, {reads}" if reads and len(results) > 1 else method,
            [Dot(SERIES[role], role, row.ndcg or 0.0, row.ndcg_low, row.ndcg_high)],
        )
        for method, reads, row in shown
        for role in [role_of(row.method)]
    ]
    return [row for result in results.values() for row in result.rows], drawn


def _new_tracks(run: Path) -> None:
    """Print who would hear three of the new tracks, whether they do, and why."""
    from coldstart.retrieval.recommender import Recommender

    with _quietly(run.parent, "who would hear the new tracks"):
        recommender = Recommender(run, placement="either")
        told = [_told(recommender, track) for track in _typical(recommender)]
    print(f"\n{len(told)} new tracks of many, some and few plays, and who would hear them\n")
    print("\n".join(told))


def _typical(recommender: Recommender) -> list[str]:
    """New tracks of many, some and few plays: each in the middle of a third of all their plays."""
    table = recommender.catalogue.table[recommender.catalogue.warm :]
    table = table.sort("plays", "track_id", descending=[True, False])
    share = (table["plays"].cum_sum() / max(1, table["plays"].sum())).to_numpy()
    middles = [(2 * part + 1) / (2 * SHOWN) for part in range(SHOWN)]
    return [
        table["track_id"][min(int((share < middle).sum()), len(table) - 1)] for middle in middles
    ]


def _told(recommender: Recommender, track: str) -> str:
    """A new track's story, in three lines."""
    catalogue = recommender.catalogue
    row = catalogue.table.row(catalogue.row[track], named=True)
    listeners = recommender.listeners(track, k=NAMED)
    heard = sum(listener.heard for listener in listeners)
    factors = catalogue.known_factors()
    everybody = factors.listens[:, factors.rows([track])].getnnz() / len(factors.user_ids)
    first = listeners[0]
    vector = factors.users[catalogue.user_row[first.user_id]]
    (found,) = recommender.near(vector, candidates=[track], k=1, why=True)
    assert found.why is not None
    added = {n: v for share in found.why.modalities for n, v in share.attributes.items() if v > 0}
    reasons = sorted(added, key=added.__getitem__, reverse=True)[:3]
    number, by_chance = len(listeners), everybody * len(listeners)
    return (
        f"“{row['title']}” by {row['artist']}\n"
        f"  of the {number} listeners it suits best {heard} play it; of {number} at random "
        f"{by_chance:.1f} would\n"
        f"  first of them: {first.user_id}, whose list has it at number {first.place}\n"
        f"  because of {', '.join(reasons) or 'nothing that has a name'}\n"
    )
