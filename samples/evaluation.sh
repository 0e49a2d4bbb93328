#!/usr/bin/env bash
# Models as they come, without a fine-tune: words to guess, texts to go on, pictures; and predictions of anything else.
# Run it in a folder of your own:  bash samples/evaluation.sh        (needs `bedplate` on the PATH)
# GUESSER, WRITER and VIEWER may name other models of the Hub: of fill-mask, text-generation and image-classification.
set -euo pipefail
GUESSER=${GUESSER:-distilbert/distilbert-base-uncased}
WRITER=${WRITER:-HuggingFaceTB/SmolLM2-135M-Instruct}
VIEWER=${VIEWER:-microsoft/resnet-50}
here=$(cd "$(dirname "$0")" && pwd)

python "$here/make_evaluation_data.py" asked
bedplate datasets add asked-words asked/words.jsonl
for model in "$GUESSER" "$WRITER" "$VIEWER"; do bedplate import "$model"; done
# Each topic is a slice of the report; what was said of each row and the report as a page are kept, too.
bedplate evaluate "$GUESSER" --data asked-words --set slices=topic --predictions guessed.parquet --page guessed.html
bedplate evaluate "$WRITER" --data asked/prompts.jsonl --set max_new_tokens=8
# A folder of images becomes a dataset.
bedplate evaluate "$VIEWER" --data asked/pictures/
# Any other program is judged by its predictions, one for each row: here by one word for all.
while read -r _; do echo France; done < asked/words.jsonl > france.txt
bedplate evaluate --from-predictions france.txt --task fill-mask --data asked-words --name "always France"
bedplate leaderboard --task fill-mask --data asked-words
bedplate evaluations list --task fill-mask
