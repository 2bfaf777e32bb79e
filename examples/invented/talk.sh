#!/usr/bin/env bash
# The talk's experiments on an invented catalogue of 1,000 tracks, with nets for a CPU.
#   talk.sh OUT
set -euo pipefail
mkdir -p "$1" && cd "$1"

[ -f catalogue/mgp.parquet ] ||
  python -c 'import coldstart as cs; cs.make_catalogue("catalogue", tracks=1000, users=1000, seed=0)'
[ -f splits.parquet ] || coldstart split catalogue/tracks.parquet --out splits.parquet
[ -f factors/factors.json ] ||
  coldstart factorize catalogue/listens.parquet --splits splits.parquet --factors 32 --out factors
coldstart shard catalogue/tracks.parquet --splits splits.parquet --attributes.mgp catalogue/mgp.parquet \
  --shard-size 64 --out shards
coldstart ablate --config ablation_small.yaml --jobs 2 --out ablation
coldstart ablate --config small_large.yaml --listens catalogue/listens.parquet --factorize.factors 32 --out small_large
coldstart neighbours --run ablation/runs/audio+mlg+genres-twostages-MeanLateFusion/s0 --like t000042 --k 5 \
  --picture tail.png
