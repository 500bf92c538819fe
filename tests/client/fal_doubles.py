"""The endpoints that the tests of fal's own Python client ask for."""

from stillmotion.testing import double


def images(job, media, url):
    picture = {"url": url, "width": media.width, "height": media.height, "content_type": media.content_type}
    return {"images": [picture], "seed": job.seed, "prompt": job.prompt}


def answer(job, media, url):
    return {"output": f"A joke about {job.prompt!r}.", "partial": False}


ENDPOINTS = [
    double("fal-ai/fast-sdxl", images),
    double("fal-ai/fast-sdxl/image-to-image", images, image_fields=["image_url"]),
    double("fal-ai/any-llm", answer, size=(64, 64)),
]
