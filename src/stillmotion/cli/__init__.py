"""The command line. Each command imports what it needs when it runs, so that ``--help`` is quick."""

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
) -> None:
    """Run the server."""
    from stillmotion.cli.serve import serve_forever

    _exit(serve_forever, host=host, port=port, tls_port=tls_port, data=data, engine=engine, model=_models(model))


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


@app.command()
def demo(
    engine: EngineOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the video goes.")] = Path("demo.mp4"),
    image: Annotated[Path | None, typer.Option(help="The photograph to start from.")] = None,
    prompt: Annotated[str, typer.Option(help="What should happen in it.")] = "The camera slowly dollies in.",
) -> None:
    """Start a server, send it one photograph with fal's own Python client, save the video, stop the server."""
    from stillmotion.cli.demo import run_demo

    _exit(run_demo, engine=engine, output=output, image=image, prompt=prompt)


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
