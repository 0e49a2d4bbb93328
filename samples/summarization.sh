#!/usr/bin/env bash
# Notes on orders and what they say: fine-tune, evaluate, deploy, score, batch.
# Run it in a folder of your own:  bash samples/summarization.sh        (needs `bedplate` on the PATH)
# MODEL may name another encoder-decoder of the Hub, or an encoder (BERT, RoBERTa and their kin), which then becomes
# both halves of one; SETTINGS holds further --set options, ROWS how many rows there are.
set -euo pipefail
MODEL=${MODEL:-google-t5/t5-small}
SETTINGS=${SETTINGS:-}
here=$(cd "$(dirname "$0")" && pwd)

python "$here/make_order_notes.py" notes ${ROWS:+--rows "$ROWS"}
bedplate import "$MODEL"
# shellcheck disable=SC2086
bedplate finetune "$MODEL" --task summarization --train notes/train.jsonl --test notes/holdout.jsonl \
    --output sample-summaries $SETTINGS
bedplate evaluate sample-summaries --task summarization --data notes/holdout.jsonl
bedplate deploy sample-summaries --endpoint sample-summaries
bedplate score sample-summaries --input "On May 12 Lena Fischer wrote that the kettle came broken. The line was bad."
bedplate batch sample-summaries --input notes/incoming.jsonl --output summaries.jsonl
head -2 summaries.jsonl
bedplate endpoints delete sample-summaries
