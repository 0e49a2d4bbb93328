#!/usr/bin/env bash
# Questions about delivery notes: check the data, fine-tune, evaluate, deploy, score, batch.
# Run it in a folder of your own:  bash samples/question_answering.sh        (needs `bedplate` on the PATH)
# MODEL may name another encoder of the Hub; SETTINGS holds further --set options, ROWS how many
# questions there are.
set -euo pipefail
MODEL=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
SETTINGS=${SETTINGS:-}
here=$(cd "$(dirname "$0")" && pwd)

python "$here/make_questions.py" questions ${ROWS:+--rows "$ROWS"}
bedplate import "$MODEL"
# train.json is nested as SQuAD's files are; the columns are question, context and answers, or are mapped with --map.
bedplate datasets check questions/train.json --task question-answering
# shellcheck disable=SC2086
bedplate finetune "$MODEL" --task question-answering --train questions/train.json --test questions/holdout.jsonl \
    --output sample-answers $SETTINGS
bedplate evaluate sample-answers --task question-answering --data questions/holdout.jsonl
bedplate deploy sample-answers --endpoint sample-answers
asked='{"question": "Where was the tent sent?", "context": "The tent was sent to Graz. Tom signed for the lamp."}'
bedplate score sample-answers --input "$asked"
# An empty answer: the context does not say. That is allowed by default where the training data has such questions.
bedplate score sample-answers --input "$asked" --set top_k=3 --set handle_impossible_answer=false
bedplate batch sample-answers --input questions/incoming.jsonl --output answered.jsonl
head -2 answered.jsonl
bedplate endpoints delete sample-answers
