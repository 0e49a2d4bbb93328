"""LitServe as the serving lab tuned it: batches of 16, 5 ms."""

import os
from typing import Any

import litserve
from model import Classifier

Request = dict  # LitServe reads the annotation: a bare dict means the JSON body


class Api(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self._classifier = Classifier()

    def decode_request(self, request: Request) -> str:
        text: str = request["inputs"]
        return text

    def predict(self, texts: list[str]) -> Any:
        return self._classifier.predict(texts)

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=16, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error", generate_client_file=False)
