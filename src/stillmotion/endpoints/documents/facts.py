"""What only the documents print: facts about the endpoints that no request depends on."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from stillmotion.endpoints.vocabulary import VideoFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    category: str = "image-to-video"
    kind: str = "inference"
    tags: tuple[str, ...] = ()
    about: str | None = None
    """What fal's page says under "About"; None where only the summary is known."""
    also: tuple[type[BaseModel], ...] = ()
    """Types that the page lists although no field of the schema refers to them."""


FACTS: Mapping[str, Facts] = {
    "fal-ai/ltx-2/image-to-video": Facts(),
    "fal-ai/ltx-2.3/image-to-video": Facts(tags=("stylized", "transform", "lipsync")),
    "fal-ai/ltx-2-19b/image-to-video": Facts(),
    "fal-ai/ltx-2.3-22b/image-to-video/lora": Facts(),
    "fal-ai/ltx-2.3-quality/image-to-video": Facts(
        about="Generate a video from a starting image (single-stage distilled).", also=(VideoFile,)
    ),
}
"""By endpoint id, complete for the shipped endpoints."""


def facts_of(endpoint_id: str) -> Facts:
    """The facts about an endpoint; of one that is not shipped nothing is known."""
    return FACTS.get(endpoint_id, Facts())
