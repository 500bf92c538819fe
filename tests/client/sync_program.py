"""A program for fal's synchronous client, unchanged: every call of the queue, and the synchronous run."""

import json
import sys

import fal_client

ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"
arguments = json.loads(sys.argv[1])
said = {}

updates = []
result = fal_client.subscribe(ENDPOINT, arguments=arguments, with_logs=True, on_queue_update=updates.append)
said["subscribe"] = {
    "seed": result["seed"],
    "kinds": [type(update).__name__ for update in updates],
    "progress_logs": max(len(update.logs or []) for update in updates if isinstance(update, fal_client.InProgress)),
}

client = fal_client.SyncClient()
handle = client.submit(ENDPOINT, arguments=arguments)
events = [type(event).__name__ for event in handle.iter_events(with_logs=True, interval=0.02)]
said["iter_events"] = {"kinds": events, "video": handle.get()["video"]}
said["handle_equality"] = client.get_handle(ENDPOINT, handle.request_id) == handle

without = fal_client.status(ENDPOINT, handle.request_id)
with_logs = fal_client.status(ENDPOINT, handle.request_id, with_logs=True)
said["status"] = {
    "logs_without": without.logs,
    "logs_with": [line["message"] for line in with_logs.logs],
    "stable": with_logs == fal_client.status(ENDPOINT, handle.request_id, with_logs=True),
    "inference_time": without.metrics["inference_time"],
}
said["result_equality"] = fal_client.result(ENDPOINT, handle.request_id) == handle.get()
said["run"] = fal_client.run(ENDPOINT, arguments=arguments)["video"]["num_frames"]

doomed = fal_client.submit(ENDPOINT, arguments={**arguments, "num_inference_steps": 50})
fal_client.cancel(ENDPOINT, doomed.request_id)
for event in doomed.iter_events(interval=0.02):
    last = event
said["cancel"] = {"kind": type(last).__name__, "error_type": last.error_type}
try:
    doomed.get()
except fal_client.FalClientHTTPError as error:
    said["cancelled_result"] = {"status": error.status_code, "error_type": error.error_type}

for call in (fal_client.run, fal_client.subscribe):
    try:
        call(ENDPOINT, arguments={**arguments, "num_frames": 1})
    except fal_client.FalClientHTTPError as error:
        said[f"faulty_{call.__name__}"] = {
            "status": error.status_code,
            "field": error.response.json()["detail"][0]["loc"],
        }

print(json.dumps(said))
