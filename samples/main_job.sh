#!/usr/bin/env bash
# The main job on the command line: import, evaluate, fine-tune, deploy, score, batch.
# Run it in a folder of your own:  bash samples/main_job.sh            (needs `bedplate` on the PATH)
# MODEL may name another encoder of the Hub; SETTINGS holds further --set options, ROWS how many
# messages there are.
set -euo pipefail
MODEL=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
SETTINGS=${SETTINGS:-}
here=$(cd "$(dirname "$0")" && pwd)
columns=(--map sentence1=text --map label=intent)

python "$here/make_support_messages.py" messages ${ROWS:+--rows "$ROWS"}
bedplate import "$MODEL"
bedplate evaluate "$MODEL" --task text-classification \
    --train messages/train.csv --data messages/holdout.csv "${columns[@]}"
# shellcheck disable=SC2086
bedplate finetune "$MODEL" --task text-classification --train messages/train.csv --test messages/holdout.csv \
    "${columns[@]}" --output sample-intent $SETTINGS
bedplate models lineage sample-intent
bedplate deploy sample-intent --endpoint sample
bedplate score sample --input "I was charged twice" --set top_k=1
bedplate score sample --input '["where is my refund", {"text": "my order", "text_pair": "is late"}]' --set top_k=1
bedplate batch sample --input messages/incoming.csv --output scored.csv --map sentence1=text
head -3 scored.csv
bedplate endpoints delete sample
