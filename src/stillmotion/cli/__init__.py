"""The command line. Each command imports what it needs when it runs, so that ``--help`` is quick."""

import gc
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="stillmotion",
    help="A still image and a prompt become a video with sound, behind fal's HTTP API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Data = Annotated[Path | None, typer.Option(help="Directory of the database, files and certificates.")]
EngineOption = Annotated[str | None, typer.Option("--engine", metavar="process|mock", help="What makes the videos.")]
EndpointArgument = Annotated[
    str, typer.Argument(metavar="ENDPOINT_ID", help="For example fal-ai/ltx-2-19b/image-to-video.")
]
DocumentUrl = Annotated[
    str | None, typer.Option("--url", help="Where its links point (default: where a server here would listen).")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="ENDPOINT_OR_ALL=NAME", help="Model bundle for an endpoint, or for all."),
]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port for http; 0 takes a free one.")] = None,
    tls_port: Annotated[int | None, typer.Option(help="Port for https (default: port + 443); 0 turns it off.")] = None,
    data: Data = None,
    engine: EngineOption = None,
    model: ModelOption = None,
    insecure_http: Annotated[
        bool | None, typer.Option("--insecure-http", help="Serve http on --host too, not on loopback alone.")
    ] = None,
    stop_at_eof: Annotated[
        bool, typer.Option("--stop-at-eof", help="Stop when standard input ends: with the program that holds it.")
    ] = False,
) -> None:
    """Run the server."""
    # A start makes nothing that has to be collected; looking for it took a tenth of a second. serve.py turns it on.
    gc.disable()
    from stillmotion.cli.serve import serve_forever

    _exit(
        serve_forever,
        stop_at_eof=stop_at_eof,
        host=host,
        port=port,
        tls_port=tls_port,
        data=data,
        engine=engine,
        model=_models(model),
        insecure_http=insecure_http,
    )


@app.command()
def generate(
    endpoint: EndpointArgument,
    input: Annotated[
        Path,
        typer.Option(
            "--input", metavar="FILE.json", help="The request's input; - reads stdin; a video made here is made again."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the video goes.")],
    url: Annotated[str | None, typer.Option(help="Use this running server instead of an engine of its own.")] = None,
    engine: EngineOption = None,
    model: ModelOption = None,
) -> None:
    """Make one video without a server. Local paths are allowed as image URLs here."""
    from stillmotion.cli.generate import generate_once

    _exit(generate_once, endpoint, input, output, url=url, engine=engine, model=_models(model))


@app.command("client-env")
def client_env(
    url: Annotated[
        str | None, typer.Option(help="https URL of the server (default: the one running on --data).")
    ] = None,
    data: Data = None,
) -> None:
    """Print the environment in which unchanged fal clients use this server: eval "$(stillmotion client-env)"."""
    from stillmotion.cli.client_env import print_exports

    _exit(print_exports, url=url, data=data)


@app.command("exec", context_settings={"allow_interspersed_args": False})
def execute(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments.")],
    url: Annotated[
        str | None, typer.Option(help="https URL of a running server (default: a private one, stopped afterwards).")
    ] = None,
    engine: EngineOption = None,
    data: Annotated[
        Path | None, typer.Option(help="With --url, the server's data directory, for its certificate.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: outside images are fixtures, or drawn.")
    ] = False,
    fixtures: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Local files in place of outside URLs.")
    ] = None,
) -> None:
    """Run a program that was written for fal, unchanged: stillmotion exec -- python app.py."""
    from stillmotion.cli.exec import run_command

    _exit(run_command, command, url=url, engine=engine, data=data, offline=offline, fixtures=fixtures)


@app.command()
def openapi(endpoint: EndpointArgument, url: DocumentUrl = None) -> None:
    """Print an endpoint's OpenAPI document."""
    from stillmotion.cli.documents import print_document

    _exit(print_document, "openapi", endpoint, url=url)


@app.command()
def llms(endpoint: EndpointArgument, url: DocumentUrl = None) -> None:
    """Print an endpoint's llms.txt, its documentation on one page of Markdown."""
    from stillmotion.cli.documents import print_document

    _exit(print_document, "llms", endpoint, url=url)


@app.command()
def usage(
    data: Data = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day, in local time (default: all).")
    ] = None,
) -> None:
    """Print requests, units, cost and GPU seconds per key, endpoint and day."""
    from stillmotion.cli.usage import print_usage

    _exit(print_usage, data=data, since=since)


keys = typer.Typer(help="API keys for a server that other machines can reach.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose it is: keys of one name see the same requests.")],
    scope: Annotated[str, typer.Option(metavar="api|admin", help="What it may do.")] = "api",
    data: Data = None,
) -> None:
    """Print a new key, once."""
    from stillmotion.cli.keys import create_key

    _exit(create_key, name, scope, data=data)


@keys.command("list")
def list_keys(data: Data = None) -> None:
    """Print the keys without their secrets."""
    from stillmotion.cli.keys import list_keys

    _exit(list_keys, data=data)


@keys.command("revoke")
def revoke_key(id: Annotated[str, typer.Argument(help="As the list shows it.")], data: Data = None) -> None:
    """End a key."""
    from stillmotion.cli.keys import revoke_key

    _exit(revoke_key, id, data=data)


engines = typer.Typer(help="Show the engines of a running server, or take one out.", no_args_is_help=True)
app.add_typer(engines, name="engines")
ServerUrl = Annotated[str | None, typer.Option("--url", help="URL of the server (default: the one on --data).")]


@engines.command("list")
def list_engines(url: ServerUrl = None, data: Data = None) -> None:
    """Print each engine's state, models and requests."""
    from stillmotion.cli.engines import show_engines

    _exit(show_engines, url=url, data=data)


@engines.command("drain")
def drain_engine(name: str, url: ServerUrl = None, data: Data = None) -> None:
    """Let an engine end what it works at, then free its device; the others go on."""
    from stillmotion.cli.engines import switch_engine

    _exit(switch_engine, "drain", name, url=url, data=data)


@engines.command("resume")
def resume_engine(name: str, url: ServerUrl = None, data: Data = None) -> None:
    """Let a drained engine take requests again."""
    from stillmotion.cli.engines import switch_engine

    _exit(switch_engine, "resume", name, url=url, data=data)


webhooks = typer.Typer(help="Show what became of webhooks, or deliver one again.", no_args_is_help=True)
app.add_typer(webhooks, name="webhooks")


@webhooks.command("list")
def list_webhooks(
    request: Annotated[str | None, typer.Option(metavar="ID", help="Of this request, with each delivery.")] = None,
    url: ServerUrl = None,
    data: Data = None,
) -> None:
    """Print who is told of which request, and what became of it, newest first."""
    from stillmotion.cli.webhooks import show_webhooks

    _exit(show_webhooks, request=request, url=url, data=data)


@webhooks.command("redeliver")
def redeliver_webhook(
    request: Annotated[str, typer.Argument(metavar="ID", help="The request's id.")],
    url: ServerUrl = None,
    data: Data = None,
) -> None:
    """Deliver the webhook of a request again, also one that was given up."""
    from stillmotion.cli.webhooks import redeliver

    _exit(redeliver, request, url=url, data=data)


@webhooks.command("rotate")
def rotate_webhook_keys(
    now: Annotated[
        bool, typer.Option("--now", help="Sign with it at once and withdraw the old ones: they were stolen.")
    ] = False,
    data: Data = None,
) -> None:
    """Make a new key to sign with. Receivers see it for a day before it is used."""
    from stillmotion.cli.webhooks import rotate_keys

    _exit(rotate_keys, at_once=now, data=data)


models = typer.Typer(help="Fetch, list, check and remove models.", no_args_is_help=True)
app.add_typer(models, name="models")
ModelsFolder = Annotated[Path | None, typer.Option("--models", help="Directory of the model bundles.")]
AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the licences that are shown, without being asked.")
]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="A name that `models list` shows.")]


@models.command("list")
def list_models(models: ModelsFolder = None) -> None:
    """Print which models are here, how much of them, under which licence, and which could be pulled."""
    from stillmotion.cli.models import show

    _exit(show, models=models)


@models.command("pull")
def pull_model(
    what: Annotated[
        str, typer.Argument(metavar="NAME_OR_REPOSITORY", help="For example ltx-2.3-22b, or owner/repo laid out alike.")
    ],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of the weights' repository (default: main).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What a repository is called here (default: its own name).")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Leave out: cameras, distilled, spatial, temporal, safety. Repeatable."),
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="FOLDER", help="Link to files found below it instead of downloading. Repeatable."
        ),
    ] = None,
    models: ModelsFolder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Download without being asked.")] = False,
    accept_licence: AcceptLicence = False,
) -> None:
    """Download a model. Shows files, sizes, free disk and licences first; goes on where a stopped pull ended.

    A gated repository needs an account that accepted its terms, and a token of it in HF_TOKEN.
    """
    from stillmotion.cli.models_pull import pull

    options = {"revision": revision, "name": name, "without": without or (), "folders": folders or ()}
    _exit(pull, what, models=models, yes=yes, accept_licence=accept_licence, **options)


@models.command("add")
def add_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called here.")],
    checkpoint: Annotated[Path, typer.Option(metavar="FILE", help="The published single file, or a fine-tuned one.")],
    text_encoder: Annotated[Path, typer.Option(metavar="FOLDER", help="Gemma 3 12B as its repository has it.")],
    tokenizer: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Default: the text encoder's.")] = None,
    spatial: Annotated[Path | None, typer.Option(metavar="FILE", help="The spatial x2 upsampler.")] = None,
    temporal: Annotated[Path | None, typer.Option(metavar="FILE", help="The temporal x2 upsampler.")] = None,
    distilled: Annotated[Path | None, typer.Option(metavar="FILE", help="The distilled LoRA.")] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=FILE", help="A camera LoRA, for example dolly_in=FILE. Repeatable."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="KNOWN", help="The known model that this is a variant of (default: NAME).")
    ] = None,
    models: ModelsFolder = None,
    accept_licence: AcceptLicence = False,
) -> None:
    """Make a model of files that are on this machine. They are linked to and checked; needs no network."""
    from stillmotion.cli.models_pull import register

    files = {"checkpoint": checkpoint, "text_encoder": text_encoder, "tokenizer": tokenizer, "distilled": distilled}
    upsamplers = {"spatial": spatial, "temporal": temporal}
    options = {"like": like, "models": models, "accept_licence": accept_licence}
    _exit(register, name, **files, upsamplers=upsamplers, cameras=camera or (), **options)


@models.command("verify")
def verify_model(name: ModelName, models: ModelsFolder = None) -> None:
    """Compare every file of a model with its recorded size and checksum."""
    from stillmotion.cli.models import verify

    _exit(verify, name, models=models)


@models.command("plan")
def plan_model(
    name: ModelName,
    memory: Annotated[str, typer.Option(help="The device's memory: 24GB or 22.5GiB.")],
    host: Annotated[str | None, typer.Option(help="The host's free memory.")] = None,
    size: Annotated[str, typer.Option(help="Width and height in pixels.")] = "1280x704",
    frames: Annotated[int, typer.Option(min=1)] = 121,
    float8: Annotated[bool, typer.Option("--float8", help="With weights in 8 bits.")] = False,
    models: ModelsFolder = None,
) -> None:
    """Print how a model would fit a device's memory."""
    from stillmotion.cli.models_plan import plan

    _exit(plan, name, models=models, size=size, frames=frames, memory=memory, host=host, float8=float8)


@models.command("rm")
def remove_model(
    name: ModelName,
    models: ModelsFolder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without being asked, even if it is configured.")] = False,
) -> None:
    """Remove a model from the models folder. Files elsewhere that it links to stay."""
    from stillmotion.cli.models import remove

    _exit(remove, name, models=models, yes=yes)


@app.command()
def demo(
    engine: EngineOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the video goes.")] = Path("demo.mp4"),
    image: Annotated[Path | None, typer.Option(help="The photograph to start from.")] = None,
    prompt: Annotated[str, typer.Option(help="What should happen in it.")] = "A tabby cat. The camera dollies in.",
    preview: Annotated[Path | None, typer.Option(help="A .webp or .gif of it, to show on a page.")] = None,
) -> None:
    """Start a server, send it one photograph with fal's own Python client, save the video, stop the server."""
    from stillmotion.cli.demo import run_demo

    _exit(run_demo, engine=engine, output=output, image=image, prompt=prompt, preview=preview)


def _models(pairs: list[str] | None) -> str | None:
    return ",".join(pairs) if pairs else None


def _exit(command: object, *arguments: object, **options: object) -> None:
    """Ends the process with the command's exit code; errors that a person can mend are one sentence on stderr."""
    from stillmotion.errors import StillmotionError

    assert callable(command)
    try:
        code = command(*arguments, **options)
    except StillmotionError as error:
        print(f"stillmotion: {error.message}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
