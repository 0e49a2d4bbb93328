"""What callers send and want back: the Hub's dialect, Azure's two, the Open Inference Protocol, OpenAI's.

    Call --parse--> items --queue--> raw results --write--> Reply

A dialect is one module: it reads a body into items and parameters and writes the answers, and knows nothing of HTTP
connections or of the model. Where each is spoken is the table of scoring_paths.py, beside this package because the
gateway reads it too. What an item is, which parameters there are and how an answer looks is the predictor's business.
"""

from bedplate_serving.dialects.answering import answer, is_route
from bedplate_serving.dialects.body import MAX_ITEMS
from bedplate_serving.dialects.call import Call, Reply, ScoringRequest, StreamingReply, StreamingRequest

__all__ = ["MAX_ITEMS", "Call", "Reply", "ScoringRequest", "StreamingReply", "StreamingRequest", "answer", "is_route"]
