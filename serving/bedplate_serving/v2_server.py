"""What a server of the Open Inference Protocol says of itself; the gateway and the replicas say the same."""

from __future__ import annotations

import orjson

__all__ = ["ALIVE", "READY", "SERVER"]

# The version is the protocol's: which release this is, is told where one may see the rest of the server.
SERVER = orjson.dumps({"name": "bedplate", "version": "2", "extensions": ["binary_tensor_data"]})
ALIVE = b'{"live":true}'
READY = b'{"ready":true}'
