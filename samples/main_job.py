"""The main job from Python: import, evaluate, fine-tune, deploy, score, batch.

Run it in a folder of your own: `python samples/main_job.py`. MODEL may name another encoder of the Hub.
"""

import os
from pathlib import Path

import bedplate
from bedplate.demo_data import ROWS, write

MODEL = os.environ.get("MODEL", "sentence-transformers/all-MiniLM-L6-v2")
SETTINGS = {"max_steps": int(os.environ["STEPS"])} if "STEPS" in os.environ else {}
COLUMNS = {"sentence1": "text", "label": "intent"}
TASK = "text-classification"

files = write(Path("messages"), rows=int(os.environ.get("ROWS", ROWS)))
ws = bedplate.connect()  # this machine's home; connect("http://gpu01:8686", token=…) is another server

model = ws.import_model(MODEL)
print(model.ref, model.data["parameters"], "parameters")

probe = ws.evaluate(model, task=TASK, train=files.train, data=files.holdout, columns=COLUMNS).wait().report
print("probe of the base:", round(probe.metrics["accuracy"], 3))

job = ws.finetune(
    model, task=TASK, train=files.train, test=files.holdout, columns=COLUMNS, output="sample-intent", **SETTINGS
)
job.wait()
print("fine-tuned:", job.model.ref, round(job.report.metrics["accuracy"], 3))

report = ws.evaluate(job.model, against=model, data=files.holdout, train=files.train, columns=COLUMNS).wait().report
print("difference:", report.data["difference"]["accuracy"])

endpoint = ws.deploy(job.model, endpoint="sample-python")
print(endpoint.score("my card was charged and there is no order", top_k=1))

ws.batch(job.model, input=files.incoming, output="scored.parquet", columns={"sentence1": "text"}).wait()
endpoint.delete()
