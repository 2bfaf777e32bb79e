"""The verb `factorize`: a listening log → one vector a track, one a user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coldstart.errors import Broken, check_seed
from coldstart.files import StrPath, writable
from coldstart.spark.session import ComputeEngine, spark_options

if TYPE_CHECKING:
    from coldstart.factors.factorization import Solver
    from coldstart.factors.factors import Factors


def factorize(
    listens: StrPath,
    *,
    out: StrPath,
    splits: StrPath | None = None,
    strict: bool = True,
    algorithm: Literal["implicit", "explicit"] = "implicit",
    factors: int = 64,
    regularization: float = 0.05,
    shrinkage: float = 0.0,
    iterations: int = 20,
    weighting: Literal["log", "linear"] = "log",
    alpha: float = 2.0,
    axes: Literal["als", "scores"] = "als",
    seed: int = 0,
    hold_out: float = 0.0,
    until: str | None = None,
    columns: str | dict[str, str] | None = None,
    min_seconds: float = 0.0,
    skip_broken: bool = False,
    vectors: dict[str, str] | None = None,
    engine: ComputeEngine = "local",
    master: str | None = None,
    spark: dict[str, Any] | None = None,
) -> Factors:
    """Factorise a listening log into one vector a track and one a user.

    Reads the log and the splits; writes the folder `out`.

    Args:
        listens: Parquet, CSV, TSV or JSON lines, also .gz, or a folder or a pattern of such files,
            with user_id, track_id, plays (or rating, if `explicit`). Without plays, each row is
            one play.
        out: folder to write.
        splits: table of track_id and split. Listens of tracks that it doesn't list are counted
            and left out.
        strict: with splits, plays of val and test tracks never reach the factorisation; their
            vectors are folded in afterwards and marked. `false` is the talk's way: factorise
            everything, split afterwards, so that held-out plays shape the users.
        algorithm: `implicit`: ALS on confidence-weighted play counts (Hu, Koren, Volinsky, ICDM
            2008), by the library of that name. `explicit`: squared error over the observed
            ratings only (row 1 of the talk).
        factors: K, width of a vector.
        regularization: λ. For `explicit` it counts once for every observed rating, as in the sum
            that the talk shows.
        shrinkage: above 0, λ is this share of the log's noise level (`als.noise_level`), whatever
            its size and `alpha`, and `regularization` doesn't count; for `implicit` alone.
        iterations: alternations of users and tracks.
        weighting: confidence from plays: `log`: alpha · (1 + ln(1 + plays)); `linear`:
            1 + alpha · plays.
        alpha: scale of the confidence.
        axes: `als`: as the factorisation left them. `scores`: turned and stretched so that two
            tracks' squared distance is the mean squared difference of all users' scores for them;
            scores stay the same. For models that are fitted by squared error.
        seed: of the random start, and of what is withheld.
        hold_out: this share of each user's training listens is withheld for a test (`test
            --candidates mixed`), never a user's or a track's last one.
        until: YYYY-MM-DD: of training tracks, only listens from before that day count (`listens`
            then has a column timestamp); later ones, of tracks that the user hadn't played before,
            are withheld for a test. `auto`: the day of the first held-out track, of a temporal
            split. Held-out tracks' listens stay, for evaluation alone.
        columns: what the log calls its columns: `user_id=uid,track_id=song,plays=cnt`. `plays=`
            says that none has counts: each row is one play.
        min_seconds: leave out shorter plays, by the log's column seconds or milliseconds (or one
            such as ms_played; others are named: `--columns seconds=listening_time`).
        skip_broken: leave broken rows out and list them in `out`/broken.csv.
        vectors: don't factorise, but take vectors that were made elsewhere: `--vectors.tracks
            FOLDER --vectors.users FOLDER`, Parquet of an id and a list of numbers, such as the
            itemFactors and userFactors of Spark's ALS. Held-out tracks' aren't used: they are
            folded in, with `regularization`, `weighting` and `alpha` as they were there; without
            `users`, users are solved from their plays of training tracks, too.
        engine: `spark`: solved on a Spark cluster (`pip install 'coldstart[spark]'`), row by row as
            here; with `--spark.coldstart.als=ml` by Spark ML's ALS. The log is read by this
            process, and the folder that `out` is in is one that all machines share.
        master: of the cluster, such as spark://host:7077, yarn, or local-cluster[2,1,1024].
        spark: settings of Spark, such as `--spark.executor.memory=4g`; and two of ours:
            `--spark.coldstart.als=rows`: half-steps alone, as on one machine and nearer to its
            answer; `--spark.coldstart.blocks=200`: a side, of Spark ML's ALS.

    Returns:
        The factors, as they were saved.
    """
    from coldstart.factors.build import factors_of
    from coldstart.factors.factorization import FactorizationSettings
    from coldstart.factors.foreign import with_vectors
    from coldstart.tables.table import write_broken

    writable(out)
    check_seed(seed)
    settings = FactorizationSettings(
        strict=strict,
        algorithm=algorithm,
        factors=factors,
        regularization=regularization,
        shrinkage=shrinkage,
        iterations=iterations,
        weighting=weighting,
        alpha=alpha,
        axes=axes,
        seed=seed,
        hold_out=hold_out,
        until=until,
    )
    broken = Broken(skip_broken)
    with _solver(out, engine, master, spark) as solver:
        if vectors:
            settings, solver = with_vectors(vectors, settings, solver)
        result = factors_of(listens, splits, settings, broken, columns, min_seconds, solver)
    result.save(out)
    print(_summary(result))
    if skipped := write_broken(Path(out) / "broken.csv", broken):
        print(skipped)
    print(f"wrote {out}\nnext: coldstart shard TRACKS --splits SPLITS --out shards")
    return result


@contextmanager
def _solver(
    out: StrPath, engine: str, master: str | None, settings: dict[str, Any] | None
) -> Iterator[Solver]:
    """What solves: this process, or a cluster for the length of the block."""
    from coldstart.factors.factorization import HERE

    options = spark_options(engine, master, settings)
    if options is None:
        yield HERE
        return
    from coldstart.spark.factorization import spark_solver

    with spark_solver(options, out) as solver:
        yield solver


def _summary(factors: Factors) -> str:
    from coldstart.factors.sparsity import factors_to_spare

    about = factors.about
    lines = [
        f"factorised {about['tracks_factorised']:,} tracks × {about['users']:,} users into "
        f"{factors.dim} factors ({about['algorithm']}; {about['protocol']})",
        f"folded in {about['tracks_folded_in']:,} held-out tracks from their own plays",
    ]
    if factors.withheld is not None:
        lines.append(f"withheld {factors.withheld.nnz:,} listens of factorised tracks, for a test")
    if unlisted := about["listens_of_unknown_tracks"]:
        lines.append(f"left out {unlisted:,} listens of tracks that the splits don't list")
    active = about["users"] - about["users_without_training_listens"]
    if note := factors_to_spare(about["tracks_factorised"], active, factors.dim):
        lines.append(f"note: {note}")
    return "\n".join(lines)
