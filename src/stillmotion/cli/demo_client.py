"""A program written for fal, run as it is: only its environment says where the server is.

usage: demo_client.py IMAGE PROMPT OUTPUT
"""

import sys
import urllib.request
from pathlib import Path

import fal_client


class LogPrinter:
    """Polled logs are cumulative: prints what is new. On a terminal the denoising steps share a line."""

    def __init__(self) -> None:
        self.shown = 0
        self.open = False

    def __call__(self, update: fal_client.Status) -> None:
        if isinstance(update, fal_client.InProgress | fal_client.Completed):
            for line in (update.logs or [])[self.shown :]:
                self.show(line["message"])
                self.shown += 1

    def show(self, message: str) -> None:
        counting = message.startswith("denoising step") and sys.stdout.isatty()
        if self.open and not counting:
            print()
        print(f"\r\x1b[K  {message}" if counting else f"  {message}", end="" if counting else "\n", flush=True)
        self.open = counting


image, prompt, output = sys.argv[1:]
result = fal_client.subscribe(
    "fal-ai/ltx-2-19b/image-to-video",
    arguments={
        "prompt": prompt,
        "image_url": fal_client.encode_file(Path(image)),
        "video_size": {"width": 288, "height": 192},
        "num_frames": 25,
        "num_inference_steps": 8,
        "seed": 866232447,
    },
    with_logs=True,
    on_queue_update=LogPrinter(),
)
video = result["video"]
urllib.request.urlretrieve(video["url"], output)
print(
    f"  {video['width']}x{video['height']}, {video['num_frames']} frames at {video['fps']:g} fps with sound, "
    f"seed {result['seed']}"
)
