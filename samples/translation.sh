#!/usr/bin/env bash
# Order lines from English into German: fine-tune, evaluate, deploy, score, batch.
# Run it in a folder of your own:  bash samples/translation.sh        (needs `bedplate` on the PATH)
# MODEL may name another encoder-decoder of the Hub, or an encoder (BERT, RoBERTa and their kin), which then becomes
# both halves of one; SETTINGS holds further --set options, ROWS how many rows there are.
set -euo pipefail
MODEL=${MODEL:-Helsinki-NLP/opus-mt-en-de}
SETTINGS=${SETTINGS:-}
here=$(cd "$(dirname "$0")" && pwd)

python "$here/make_order_notes.py" lines --german ${ROWS:+--rows "$ROWS"}
bedplate import "$MODEL"
# shellcheck disable=SC2086
bedplate finetune "$MODEL" --task translation --train lines/train.jsonl --test lines/holdout.jsonl \
    --output sample-translator $SETTINGS
bedplate evaluate sample-translator --task translation --data lines/holdout.jsonl
bedplate deploy sample-translator --endpoint sample-translator
bedplate score sample-translator --input "please send two lamp , red"
bedplate batch sample-translator --input lines/incoming.jsonl --output translated.jsonl
head -2 translated.jsonl
bedplate endpoints delete sample-translator
