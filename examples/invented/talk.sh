#!/usr/bin/env bash
# The talk's experiments on an invented catalogue of 1,000 tracks, with nets for a CPU.
#   talk.sh OUT
# At 11,025 Hz, which costs half: the net hears up to 4.2 kHz at either rate, and frames keep their length.
set -euo pipefail
mkdir -p "$1" && cd "$1"

[ -f catalogue/mgp.parquet ] ||
  python -c 'import coldstart as cs; cs.make_catalogue("catalogue", tracks=1000, users=1000, seed=0)'
[ -f splits.parquet ] || coldstart split catalogue/tracks.parquet --out splits.parquet
[ -f factors/factors.json ] ||
  coldstart factorize catalogue/listens.parquet --splits splits.parquet --factors 32 --out factors
coldstart shard catalogue/tracks.parquet --splits splits.parquet --attributes.mgp catalogue/mgp.parquet \
  --sample-rate 11025 --shard-size 64 --out shards
coldstart ablate --config ablation_small.yaml --settings.model.encoders.audio.frame_hop 1024 --jobs 2 --out ablation
coldstart ablate --config small_large.yaml --listens catalogue/listens.parquet --factorize.factors 32 --out small_large
coldstart neighbours --run ablation/runs/audio+mlg+genres-twostages-MeanLateFusion/s0 --like t000042 --k 5 \
  --picture tail.png
