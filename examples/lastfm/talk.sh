#!/usr/bin/env bash
# The talk's experiments on Last.fm, as far as the data has the modalities.
#   talk.sh FOLDER OUT     FOLDER: the unpacked HetRec files
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "$1" && pwd)
mkdir -p "$2" && cd "$2"

[ -f tables/listens.parquet ] || coldstart dataset hetrec-lastfm --out tables --source "$data"
for seed in 0 1 2; do
  [ -f s$seed/splits.parquet ] || coldstart split tables/tracks.parquet --out s$seed/splits.parquet --seed $seed
  [ -f s$seed/factors/factors.json ] ||
    coldstart factorize tables/listens.parquet --splits s$seed/splits.parquet --out s$seed/factors --seed $seed
  coldstart shard tables/tracks.parquet --splits s$seed/splits.parquet --attributes.mgp tables/mgp.parquet --out s$seed/shards
done
coldstart ablate --config "$here/ablation.yaml"
coldstart ablate --config small_large.yaml --shards s0/shards --listens tables/listens.parquet --out small_large
coldstart neighbours --run ablation/runs/mgp+genres-twostages-MeanLateFusion/s0 --like 289 --ranks 1,2,3,35,82,91,158
