"""Score many texts at once with asyncio: `python samples/score_many.py ENDPOINT < texts.txt`, one text a line.

Answers come as JSON lines in the order of the texts. The endpoint puts what comes together into batches by itself.
"""

import asyncio
import json
import sys

import bedplate

OPEN = 32  # requests at once


async def main(name: str, texts: list[str]) -> None:
    gate = asyncio.Semaphore(OPEN)
    async with bedplate.aconnect() as ws:  # this machine's home, or BEDPLATE_URL and BEDPLATE_TOKEN
        endpoint = await ws.endpoints.get(name)

        async def score(text: str) -> object:
            async with gate:
                return await endpoint.score(text, top_k=1)

        for text, answer in zip(texts, await asyncio.gather(*map(score, texts)), strict=True):
            print(json.dumps({"text": text, "answer": answer}, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.stdin.read().splitlines()))
