"""Every setting, once: name, default, help. Flags win over the environment, the environment over the file.

The environment variable of a field is its name in capitals after ``STILLMOTION_``; the file is ``stillmotion.toml`` in
the working directory. ``docs/settings.md`` is generated from this module.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
import pydantic
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stillmotion.errors import ConfigurationError
from stillmotion.files.fixtures import read_fixtures
from stillmotion.safety.configuration import Mode as SafetyMode
from stillmotion.service.acl import Decision
from stillmotion.service.rules import Rule, parse_rules

CONFIG_FILE = "stillmotion.toml"
PREFIX = "STILLMOTION_"

Engine = Literal["process", "mock"]
Expansion = Literal["auto", "off", "server"]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=CONFIG_FILE, frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Any other than loopback asks every caller for a key: `stillmotion keys`.",
    )
    insecure_http: bool = Field(
        False, description="Serve http on `host` too, not on loopback alone: keys and pictures travel unencrypted."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port for http; 0 takes a free one.")
    tls_port: int | None = Field(
        None, ge=0, le=65535, description="Port for https; 0 turns https off. Default: `port` + 443."
    )
    data: Path = Field(
        Path(platformdirs.user_data_dir("stillmotion")),
        description="Directory of the database, the files and the local certificates. Default: the user's data "
        "directory, on Linux `~/.local/share/stillmotion`.",
    )
    models: Path = Field(
        Path(platformdirs.user_cache_dir("stillmotion")) / "models",
        description="Directory of the model bundles. Default: in the user's cache directory, on Linux "
        "`~/.cache/stillmotion/models`.",
    )
    engine: Engine = Field(
        "process", description="`process` runs the model in a child process; `mock` makes real files without a model."
    )
    model: Annotated[Mapping[str, str], NoDecode] = Field(
        {},
        description="Model bundle by endpoint id, or `all`: `all=NAME,ENDPOINT=NAME`. A name is a folder of `models`, "
        "or a path; `tiny-ltx-2`, of random weights, is built on first use. "
        "Default: `nano`, which comes with the package.",
    )
    device: str = Field(
        "auto",
        description="Where the model runs: `auto`, `cuda`, `mps`, `cpu`. An engine for each of several: "
        "`cuda:0,cuda:1`, or `all` CUDA devices; with the models that one may hold: `cuda:0=NAME,cuda:1=NAME+NAME`. "
        "One engine over several: `cuda:0+cuda:1`.",
    )
    parallel: Literal["guidance", "context"] = Field(
        "guidance",
        description="What the devices of one engine share out: the passes of guidance (up to 4 devices; the same "
        "pictures), or the tokens of each pass (`context`; pays from 1080p on).",
    )
    dtype: str = Field("auto", description="Number format of the weights: `auto`, `bfloat16`, `float16`, `float32`.")
    memory: Literal["auto", "resident", "swapped", "streamed"] = Field(
        "auto",
        description="Where weights are while they are not needed: `auto` keeps as many on the device as fit; "
        "`resident` all, `swapped` those of one phase, `streamed` one block at a time; docs/memory.md.",
    )
    device_memory_bytes: int | None = Field(
        None, ge=1, description="Most memory of a device that an engine takes. Default: what is free at its start."
    )
    host_memory_bytes: int | None = Field(
        None,
        ge=0,
        description="Most memory of the host that an engine takes for weights off its device. Default: an equal share "
        "of what is free, but for 4 GiB.",
    )
    weights: Literal["auto", "float8"] = Field(
        "auto", description="`float8` stores the transformer's weights in 8 bits, at a loss; docs/acceleration.md."
    )
    attention: Literal["auto", "sdpa", "cudnn", "flash", "flash_3", "sage"] = Field(
        "auto", description="Kernels that compute attention: `auto` torch's own; docs/acceleration.md."
    )
    compiled: bool = Field(
        False, description="Compile the transformer's blocks: a minute or more for the first video of each kind."
    )
    threads: int | None = Field(None, ge=1, description="Threads of the engine on a CPU. Default: all cores.")
    mock_seconds: float = Field(0.5, ge=0, description="Least seconds that a request takes on the mock engine.")
    mock_slots: int = Field(4, ge=1, description="Requests that the mock engine makes at once.")
    affinity_seconds: float = Field(
        30.0,
        ge=0,
        description="An engine takes requests first that need the model and LoRAs it has in memory, but none that "
        "came after one that has waited so long.",
    )
    max_attempts: int = Field(3, ge=1, description="Attempts at a request before a lost engine fails it.")
    lease_seconds: float = Field(30.0, gt=0, description="A runner that is silent for so long has lost its request.")
    heartbeat_seconds: float = Field(5.0, gt=0, description="How often a runner says that it is alive.")
    generation_seconds: float = Field(3600.0, gt=0, description="Longest generation before it is ended as too slow.")
    cancel_seconds: float = Field(10.0, ge=0, description="Time for an engine to stop on its own before it is killed.")
    drain_seconds: float = Field(
        30.0, ge=0, description="Time for running requests when the server is told to stop; then they are requeued."
    )
    sync_mode_seconds: float = Field(
        3600.0,
        gt=0,
        description="How long a result waits to be read before it is deleted, with `sync_mode` or `X-Fal-Store-IO: 0`.",
    )
    idempotency_seconds: float = Field(
        86_400.0, gt=0, description="How long an `Idempotency-Key` stands for the request that it was first sent with."
    )
    lost_reply_seconds: float = Field(
        60.0,
        ge=0,
        description="How long an equal submit means the request whose reply was lost, without a key. 0: never; every "
        "submit makes a request.",
    )
    preview_seconds: float = Field(
        1.0, ge=0, description="Least time between two preview pictures of one request, where it asks for them."
    )
    embed_settings: bool = Field(
        True, description="Write into each video how it was made, so that it can be made again from the file."
    )
    card_samples: bool = Field(
        True,
        description="Make a small looping video for each endpoint's card, when it was asked for and an engine is idle; "
        "given up as soon as a request comes.",
    )
    strict_submit: bool = Field(
        False, description="Refuse faulty input at submit instead of storing it as a failed request."
    )
    max_body_bytes: int = Field(70 << 20, ge=1024, description="Largest request body.")
    max_upload_bytes: int = Field(2 << 30, ge=1024, description="Largest file that a client may upload.")
    max_upload_part_bytes: int = Field(128 << 20, ge=1024, description="Largest part of an upload in parts.")
    max_unfinished_uploads: int = Field(1000, ge=1, description="Uploads that may be begun and not complete.")
    unfinished_upload_seconds: float = Field(
        86400.0, gt=0, description="Time from the first request of an upload to its last; then its parts are deleted."
    )
    upload_seconds: float = Field(
        7 * 86400.0,
        ge=0,
        description="How long an uploaded file is kept, unless its upload says otherwise; 0 keeps it for ever.",
    )
    file_access: Decision = Field(
        "allow",
        description="Who may read a file whose owner has not said: `allow` everybody who knows its URL; `forbid` and "
        "`hide` its owner and whom he gives a signed URL; docs/storage.md.",
    )
    max_image_bytes: int = Field(50 << 20, ge=1024, description="Largest input image file.")
    max_image_pixels: int = Field(64_000_000, ge=1024, description="Most pixels of an input image.")
    max_prompt_chars: int = Field(5000, ge=1, description="Longest prompt.")
    min_side: int = Field(64, ge=2, description="Shortest side of a custom video size.")
    max_side: int = Field(4096, ge=64, description="Longest side of a custom video size.")
    max_megapixels: int = Field(
        4200,
        ge=1,
        description="Most pixels of one video over all its frames, in millions; 2160p, 50 fps, 10 s is 4148.",
    )
    max_seed: int = Field(2**63 - 1, ge=0, le=2**63 - 1, description="Largest seed.")
    max_loras: int = Field(3, ge=0, description="Most LoRAs of one request.")
    max_lora_scale: float = Field(4.0, ge=0, description="Largest scale of a LoRA, on either side of 0.")
    max_lora_path_chars: int = Field(4096, ge=1, description="Longest path or URL of a LoRA.")
    min_frames: int = Field(9, ge=1, description="Fewest frames, where an endpoint's document has no range.")
    max_frames: int = Field(481, ge=1, description="Most frames, where an endpoint's document has no range.")
    min_fps: float = Field(1.0, gt=0, description="Lowest frame rate, where an endpoint's document has no range.")
    max_fps: float = Field(60.0, gt=0, description="Highest frame rate, where an endpoint's document has no range.")
    max_steps: int = Field(30, ge=1, description="Most denoising steps, where an endpoint's document has no range.")
    max_guidance_scale: float = Field(
        10.0, ge=1, description="Largest guidance scale, where an endpoint's document has no range."
    )
    min_free_bytes: int = Field(
        512 << 20, ge=0, description="Free disk space below which new requests are refused with 503."
    )
    fetch_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks, addresses and names that image URLs may reach although they are not public: "
        "`10.0.0.0/8,nas.lan:9000,*.corp.example`.",
    )
    fetch_seconds: float = Field(30.0, gt=0, description="Longest download of an input image.")
    fetch_ca_file: Path | None = Field(
        None, description="Certificates to trust for image URLs besides the system's, for hosts of a private network."
    )
    fixtures: Annotated[Mapping[str, Path], NoDecode] = Field(
        {},
        description='Local files in place of outside URLs: a table `[fixtures]` of `"URL or glob" = "FILE"`, or the '
        "path of a TOML file with that table; docs/exec.md.",
    )
    endpoint_files: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Python files with further endpoints, such as doubles of other ones of fal's for tests; they are "
        "run. docs/exec.md.",
    )
    offline: bool = Field(
        False,
        description="Fetch nothing: an image URL without a fixture is answered with a picture drawn from its hash, a "
        "LoRA without one is refused, and webhooks reach this machine only; docs/exec.md.",
    )
    rules: tuple[Rule, ...] = Field(
        (), description="`[[rules]]`: which requests fail or wait, to test how a program takes it; docs/exec.md."
    )
    rules_file: Path | None = Field(
        None, description="TOML or JSON file of further `[[rules]]`, read again for every request."
    )
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks, addresses and names that webhooks may reach although they are not public, or on other "
        "ports than 80, 443, 8080 and 8443. A server on loopback may always call loopback.",
    )
    webhook_seconds: float = Field(
        5.0,
        gt=0,
        description="Wait between the first two deliveries of a webhook; up to 540 times as long between later ones, "
        "1537 times in all.",
    )
    webhook_ca_file: Path | None = Field(
        None, description="Certificates to trust for webhooks besides the system's, for hosts of a private network."
    )
    expansion: Expansion = Field(
        "auto",
        description="What expands prompts where a request asks for it: `auto` the model's own text encoder if it can, "
        "`server` the one at `expansion_url`, `off` nothing; docs/prompts.md.",
    )
    expansion_url: str | None = Field(
        None,
        description="OpenAI-compatible server, up to `/chat/completions`: `http://127.0.0.1:8080/v1`. Prompts are sent "
        "to it.",
    )
    expansion_model: str | None = Field(None, description="Model of that server.")
    expansion_key: SecretStr | None = Field(None, description="Key for that server, if it wants one.")
    expansion_vision: bool = Field(
        False, description="That model can see: the picture a video begins with is sent too."
    )
    expansion_seconds: float = Field(
        60.0, gt=0, description="Longest expansion; then the prompt is used as it is, or as far as its expansion came."
    )
    safety: SafetyMode = Field(
        "auto",
        description="`auto` checks requests with `enable_safety_checker` by what is installed; `required` checks all "
        "and starts only with a classifier; `off` checks nothing.",
    )
    safety_model: str | None = Field(
        None,
        description="Classifier of pictures, a folder of `models` or a path. Default: `nsfw_image_detection`, if it "
        "is there.",
    )
    safety_labels: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Labels of the classifier that are refused. Default: the known ones among its own, as `nsfw`."
    )
    safety_threshold: float = Field(0.5, gt=0, le=1, description="Least score of these labels that is refused.")
    safety_device: str = Field("cpu", description="Where the classifier runs: `cpu`, `cuda`, `cuda:0`, `mps`.")
    safety_terms: Path | None = Field(
        None, description="File of terms and regular expressions that a prompt must not hold; docs/safety.md."
    )
    lora_folder: Path | None = Field(
        None, description="Directory of LoRA files that requests may name as `local:FILE.safetensors`. Default: none."
    )
    max_lora_bytes: int = Field(3_000_000_000, ge=1024, description="Largest LoRA file that a request may name.")
    lora_cache_bytes: int = Field(
        20_000_000_000,
        ge=0,
        description="Downloaded LoRA files that are kept in `data` for later requests; those used longest ago "
        "go first.",
    )
    lora_seconds: float = Field(900.0, gt=0, description="Longest download of a LoRA file.")
    openai_models: Annotated[Mapping[str, str], NoDecode] = Field(
        {},
        description="Further names of endpoints for programs that use OpenAI's videos API: `NAME=ENDPOINT,...`; the "
        "name `default` is for requests that name no model. docs/openai.md.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further names under which clients reach this server (the Host header)."
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Web origins whose pages may use this server without a key, besides its own."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )

    @field_validator(
        "endpoint_files",
        "fetch_allow",
        "webhook_allow",
        "safety_labels",
        "allowed_hosts",
        "allowed_origins",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("model", "openai_models", mode="before")
    @classmethod
    def _pairs(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError(
                "write NAME=ENDPOINT" if info.field_name == "openai_models" else "write ENDPOINT=NAME or all=NAME"
            )
        return {left: right for left, _, right in pairs}

    @field_validator("fixtures", mode="before")
    @classmethod
    def _table(cls, value: Any) -> Any:
        return read_fixtures(Path(value)) if isinstance(value, (str, Path)) else value

    @field_validator("rules", mode="before")
    @classmethod
    def _rules(cls, value: Any) -> Any:
        return parse_rules(value) if isinstance(value, (list, tuple)) else value

    @model_validator(mode="after")
    def _heart(self) -> "Settings":
        if self.heartbeat_seconds >= self.lease_seconds:
            raise ValueError("heartbeat_seconds must be less than lease_seconds, or live work is taken for lost")
        return self

    @model_validator(mode="after")
    def _prompt_server(self) -> "Settings":
        if self.expansion == "server" and not (self.expansion_url and self.expansion_model):
            raise ValueError("expansion by a server needs expansion_url and expansion_model")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, **flags: Any) -> "Settings":
        """Settings from the flags that were given (None: not given), the environment and the file.

        Raises ConfigurationError that names every setting that does not fit.
        """
        try:
            return cls(**{name: value for name, value in flags.items() if value is not None})
        except pydantic.ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise ConfigurationError(f"settings: {faults}") from None

    @property
    def https_port(self) -> int | None:
        """Port for https, 0 for any free one, None when it is off."""
        if self.tls_port is None:
            return self.port + 443 if self.port else 0
        return self.tls_port or None


def settings_table() -> str:
    """The settings as a Markdown table."""
    lines = ["| setting | environment | default | what |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        # Paths differ by system and user; their description says where they are.
        told = field.default not in (None, (), {}) and not isinstance(field.default, Path)
        default = f"`{field.default}`" if told else ""
        lines.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"
