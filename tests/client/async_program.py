"""The same calls with fal's asynchronous client."""

import asyncio
import json
import sys

import fal_client

ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"


async def main():
    arguments = json.loads(sys.argv[1])
    client = fal_client.AsyncClient()
    said = {}

    updates = []
    result = await client.subscribe(ENDPOINT, arguments=arguments, with_logs=True, on_queue_update=updates.append)
    said["subscribe"] = {
        "seed": result["seed"],
        "kinds": [type(update).__name__ for update in updates],
        "progress_logs": max(len(update.logs or []) for update in updates if isinstance(update, fal_client.InProgress)),
    }

    handle = await client.submit(ENDPOINT, arguments=arguments)
    events = [type(event).__name__ async for event in handle.iter_events(with_logs=True, interval=0.02)]
    said["iter_events"] = {"kinds": events, "video": (await handle.get())["video"]}
    said["handle_equality"] = await client.get_handle(ENDPOINT, handle.request_id) == handle

    without = await client.status(ENDPOINT, handle.request_id)
    with_logs = await client.status(ENDPOINT, handle.request_id, with_logs=True)
    said["status"] = {
        "logs_without": without.logs,
        "logs_with": [line["message"] for line in with_logs.logs],
        "stable": with_logs == await client.status(ENDPOINT, handle.request_id, with_logs=True),
        "inference_time": without.metrics["inference_time"],
    }
    said["result_equality"] = await client.result(ENDPOINT, handle.request_id) == await handle.get()
    said["run"] = (await client.run(ENDPOINT, arguments=arguments))["video"]["num_frames"]

    doomed = await client.submit(ENDPOINT, arguments={**arguments, "num_inference_steps": 50})
    await client.cancel(ENDPOINT, doomed.request_id)
    async for event in doomed.iter_events(interval=0.02):
        last = event
    said["cancel"] = {"kind": type(last).__name__, "error_type": last.error_type}
    try:
        await doomed.get()
    except fal_client.FalClientHTTPError as error:
        said["cancelled_result"] = {"status": error.status_code, "error_type": error.error_type}

    for call in (client.run, client.subscribe):
        try:
            await call(ENDPOINT, arguments={**arguments, "num_frames": 1})
        except fal_client.FalClientHTTPError as error:
            field = error.response.json()["detail"][0]["loc"]
            said[f"faulty_{call.__name__}"] = {"status": error.status_code, "field": field}
    print(json.dumps(said))


asyncio.run(main())
