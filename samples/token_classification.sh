#!/usr/bin/env bash
# Names, cities, dates and products in messages: fine-tune a tagger, evaluate, deploy, score, batch.
# Run it in a folder of your own:  bash samples/token_classification.sh      (needs `bedplate` on the PATH)
# MODEL may name another encoder of the Hub; SETTINGS holds further --set options, ROWS how many
# messages there are.
set -euo pipefail
MODEL=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
SETTINGS=${SETTINGS:-}
here=$(cd "$(dirname "$0")" && pwd)

python "$here/make_tagged_messages.py" tagged ${ROWS:+--rows "$ROWS"}
bedplate import "$MODEL"
# The columns are called tokens and tags; others are mapped: --map tokens=words --map tags=ner_tags
# shellcheck disable=SC2086
bedplate finetune "$MODEL" --task token-classification --train tagged/train.jsonl --test tagged/holdout.jsonl \
    --output sample-tagger $SETTINGS
bedplate evaluate sample-tagger --task token-classification --train tagged/train.jsonl --data tagged/holdout.jsonl
bedplate deploy sample-tagger --endpoint sample-tagger
bedplate score sample-tagger --input "the kettle was sent to Graz on May 12"
bedplate score sample-tagger --input '{"tokens": ["Lena", "Fischer", "from", "Cork", "has", "returned", "it"]}'
bedplate batch sample-tagger --input tagged/incoming.jsonl --output tagged.jsonl
head -2 tagged.jsonl
bedplate endpoints delete sample-tagger
