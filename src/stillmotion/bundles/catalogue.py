"""The bundles that are known by name, as data: repositories, files, sizes, terms.

Sizes and checksums are those that the publisher's repositories listed when this was written. They serve for estimates
without a network and for files that are already here; a download is checked against what the hub lists then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stillmotion.job import Family, Upsampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One published file."""

    repository: str
    file: str
    size: int
    """Bytes."""
    sha256: str | None = None
    estimated: bool = False
    """``size`` was computed from the tensors of the file, and may be off by the length of its metadata."""

    def is_published(self, size: int, sha256: str | None) -> bool:
        """Whether a file of that size and checksum (None: not known yet) can be this one."""
        return (self.estimated or size == self.size) and (None in (sha256, self.sha256) or sha256 == self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """Files of a repository's root that become a folder of the bundle; ``size`` is about their sum."""

    repository: str
    folder: str
    patterns: tuple[str, ...]
    needed: tuple[str, ...]
    """Patterns that must match something, or the repository is not what it was."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under which licence a repository's files are given."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBundle:
    """How a bundle is put together, and what its manifest says."""

    name: str
    family: Family
    stg_block: int
    checkpoint: Source
    upsamplers: Mapping[Upsampling, Source]
    distilled: bool = False
    loras: Mapping[str, Source] = field(default_factory=dict)

    @property
    def repository(self) -> str:
        return self.checkpoint.repository

    def sources(self) -> Iterator[tuple[str, Source]]:
        """Each single file with its part: the word that leaves it out, or ``checkpoint``."""
        yield "checkpoint", self.checkpoint
        for kind, source in self.upsamplers.items():
            yield UPSAMPLER_PARTS[kind], source
        for name, source in self.loras.items():
            yield ("distilled" if name == "distilled" else "cameras"), source

    @property
    def size(self) -> int:
        """About the bytes of all parts."""
        return sum(source.size for _, source in self.sources()) + sum(folder.size for folder in TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClassifier:
    """An image classifier for the safety checker: a transformers folder."""

    name: str
    repository: str
    files: tuple[str, ...]
    size: int


UPSAMPLER_PARTS: Mapping[Upsampling, str] = {"spatial_x2": "spatial", "temporal_x2": "temporal"}
PARTS = {
    "spatial": "the x2 latent upsampler: multi-scale generation, 1440p and 2160p",
    "temporal": "the latent upsampler in time: 48 and 50 frames per second",
    "distilled": "the distilled LoRA: the second pass of multi-scale generation",
    "cameras": "the seven camera LoRAs",
    "safety": "the image classifier of the safety checker",
}
"""What ``--without`` takes, and what is lost then."""

MAX_SEQUENCE_LENGTH = 1024
"""Text tokens that the connectors of both families were trained with."""
IMAGE_CRF = 33
NEGATIVE_PROMPT = "worst quality, inconsistent motion, blurry, jittery, distorted"

LTX_2, LTX_2_3 = "Lightricks/LTX-2", "Lightricks/LTX-2.3"
GEMMA = "google/gemma-3-12b-it-qat-q4_0-unquantized"
TERMS: Mapping[str, Terms] = {
    "Lightricks": Terms(
        name="LTX-2 Community License Agreement", url="https://huggingface.co/Lightricks/LTX-2/blob/main/LICENSE"
    ),
    "google": Terms(name="Gemma Terms of Use", url="https://ai.google.dev/gemma/terms"),
    "Falconsai": Terms(name="Apache-2.0", url="https://www.apache.org/licenses/LICENSE-2.0"),
}
"""By owner of the repository."""

TEXT = (
    FolderSource(
        repository=GEMMA,
        folder="text_encoder",
        patterns=("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json"),
        needed=("config.json", "*.safetensors"),
        size=24_375_000_000,
    ),
    FolderSource(
        repository=GEMMA,
        folder="tokenizer",
        patterns=(
            *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*"),
            *("processor_config.json", "preprocessor_config.json"),
        ),
        needed=("tokenizer_config.json",),
        size=38_000_000,
    ),
)

# Camera LoRAs of the wide kind also train the feed-forward layers.
_NARROW, _WIDE = 327_309_208, 2_214_978_664
_CAMERAS = {
    "dolly_in": (_NARROW, "0da937d528ea619c95859ad0c5cab012c7213fe058b7cb289e2a513ec351f237"),
    "dolly_out": (_NARROW, None),
    "dolly_left": (_NARROW, None),
    "dolly_right": (_NARROW, None),
    "jib_up": (_WIDE, None),
    "jib_down": (_WIDE, None),
    "static": (_WIDE, None),
}


def _camera(word: str, size: int, sha256: str | None) -> Source:
    dashed = word.replace("_", "-")
    return Source(
        repository=f"Lightricks/LTX-2-19b-LoRA-Camera-Control-{dashed.title()}",
        file=f"ltx-2-19b-lora-camera-control-{dashed}.safetensors",
        size=size,
        sha256=sha256,
    )


# Trained on the 19B model; its publisher lists them for the 22B one too, whose layers they fit.
CAMERAS = {word: _camera(word, size, sha256) for word, (size, sha256) in _CAMERAS.items()}

_UPSAMPLERS_2: Mapping[Upsampling, Source] = {
    "spatial_x2": Source(repository=LTX_2, file="ltx-2-spatial-upscaler-x2-1.0.safetensors", size=995_765_578),
    "temporal_x2": Source(repository=LTX_2, file="ltx-2-temporal-upscaler-x2-1.0.safetensors", size=261_965_800),
}
_UPSAMPLERS_2_3: Mapping[Upsampling, Source] = {
    "spatial_x2": Source(
        repository=LTX_2_3,
        file="ltx-2.3-spatial-upscaler-x2-1.1.safetensors",
        size=995_743_560,
        sha256="5f416311fa8172b65af67530758964708d29a317b830d689a51143b7f91913ed",
    ),
    "temporal_x2": Source(repository=LTX_2_3, file="ltx-2.3-temporal-upscaler-x2-1.0.safetensors", size=261_944_000),
}

BUNDLES = {
    bundle.name: bundle
    for bundle in (
        KnownBundle(
            name="ltx-2-19b",
            family="ltx-2",
            stg_block=29,
            checkpoint=Source(
                repository=LTX_2,
                file="ltx-2-19b-dev.safetensors",
                size=43_285_058_242,
                sha256="4a51e70aad660e55648d6f0b8af15c8acaaffc06e2a4ae7c7cb01ede701981a8",
            ),
            upsamplers=_UPSAMPLERS_2,
            loras={
                "distilled": Source(
                    repository=LTX_2,
                    file="ltx-2-19b-distilled-lora-384.safetensors",
                    size=7_674_558_424,
                    estimated=True,
                ),
                **CAMERAS,
            },
        ),
        KnownBundle(
            name="ltx-2-19b-distilled",
            family="ltx-2",
            stg_block=29,
            distilled=True,
            checkpoint=Source(
                repository=LTX_2,
                file="ltx-2-19b-distilled.safetensors",
                size=43_285_058_186,
                sha256="c4006d689061cde0967b9d96eaf44253ff08f5de0c78e5fa1331a763cd03ee28",
            ),
            upsamplers=_UPSAMPLERS_2,
            loras=CAMERAS,
        ),
        KnownBundle(
            name="ltx-2.3-22b",
            family="ltx-2.3",
            stg_block=28,
            checkpoint=Source(
                repository=LTX_2_3,
                file="ltx-2.3-22b-dev.safetensors",
                size=46_149_344_974,
                sha256="7ab7225325bc403448ea84b6db2269811a880e5118cd2ee2b6282a93d585016f",
            ),
            upsamplers=_UPSAMPLERS_2_3,
            loras={
                "distilled": Source(
                    repository=LTX_2_3,
                    file="ltx-2.3-22b-distilled-lora-384-1.1.safetensors",
                    size=7_605_507_256,
                    sha256="f5d4953f3386197a4b4f5abdb17616ff256171e8075c111d6e7d2dfa6e823b3a",
                ),
                **CAMERAS,
            },
        ),
        KnownBundle(
            name="ltx-2.3-22b-distilled",
            family="ltx-2.3",
            stg_block=28,
            distilled=True,
            checkpoint=Source(
                repository=LTX_2_3,
                file="ltx-2.3-22b-distilled-1.1.safetensors",
                size=46_149_345_334,
                sha256="b33b7fe4bbfe084f484be4aaf90b0f1d95dca20d403ac4c0e037eb8c4f0af7cc",
            ),
            upsamplers=_UPSAMPLERS_2_3,
            loras=CAMERAS,
        ),
    )
}

CLASSIFIER = KnownClassifier(
    name="nsfw_image_detection",
    repository="Falconsai/nsfw_image_detection",
    files=("config.json", "preprocessor_config.json", "model.safetensors"),
    size=343_000_000,
)


def terms_of(repository: str) -> Terms:
    """The terms of a repository; of one that is not known, those that its page states."""
    owner = repository.partition("/")[0]
    page = f"https://huggingface.co/{repository}"
    return TERMS.get(owner) or Terms(name=f"the terms of {repository}", url=page)
