"""The first four sections of an endpoint's page: how to call it. The words are fal's, the notes are this server's."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from stillmotion.endpoints.documents import snippets
from stillmotion.endpoints.documents.html import Node, prose, tag

REQUEST_ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"

_CONFIGURE = f"""\
{snippets.IMPORT}
fal.config({{
  credentials: "YOUR_FAL_KEY"
}});"""
_UPLOAD = f"""\
{snippets.IMPORT}
const file = new File(["Hello, World!"], "hello.txt", {{ type: "text/plain" }});
const url = await fal.storage.upload(file);"""


def guide(endpoint_id: str, body: Mapping[str, Any]) -> list[Node]:
    """Calling, authentication, queue and files, with ``body`` as the example input."""
    return [*_calling(endpoint_id, body), *_authentication(), *_queue(endpoint_id, body), *_files()]


def heading(level: int, text: str, id: str) -> Element:
    return tag(f"h{level}", text, tag("a", "#", href=f"#{id}", class_="anchor", title="Link to this part"), id=id)


def code(text: str) -> Element:
    # Focusable, so that a keyboard can scroll it sideways.
    return tag("pre", tag("code", text), tabindex="0")


def _note(markdown: str) -> Element:
    return tag("aside", *prose(f"On this server: {markdown}"), class_="note")


def _p(markdown: str) -> Element:
    return tag("p", *prose(markdown))


def _calling(endpoint_id: str, body: Mapping[str, Any]) -> list[Node]:
    return [
        heading(2, "1. Calling the API", "calling"),
        heading(3, "Install the client", "calling-install"),
        _p("The client provides a convenient way to interact with the model API."),
        code("npm install --save @fal-ai/client"),
        heading(3, "Setup your API Key", "calling-key"),
        _p("Set `FAL_KEY` as an environment variable in your runtime."),
        code('export FAL_KEY="YOUR_API_KEY"'),
        _note(
            '`eval "$(stillmotion client-env)"` sets the key and the hosts for the Python client; what it prints also '
            "shows the line that points the JavaScript client here. While the server listens on loopback only, any "
            "key is accepted."
        ),
        heading(3, "Submit a request", "calling-submit"),
        _p(
            "The client API handles the API submit protocol. It will handle the request status updates and return "
            "the result when the request is completed."
        ),
        code(snippets.javascript(endpoint_id, body)),
    ]


def _authentication() -> list[Node]:
    return [
        heading(2, "2. Authentication", "authentication"),
        _p(
            "The API uses an API Key for authentication. It is recommended you set the `FAL_KEY` environment variable "
            "in your runtime when possible."
        ),
        heading(3, "API Key", "authentication-key"),
        _p(
            "In case your app is running in an environment where you cannot set environment variables, you can set "
            "the API Key manually as a client configuration."
        ),
        code(_CONFIGURE),
    ]


def _queue(endpoint_id: str, body: Mapping[str, Any]) -> list[Node]:
    status = f"""\
{snippets.IMPORT}
const status = await fal.queue.status("{endpoint_id}", {{
  requestId: "{REQUEST_ID}",
  logs: true,
}});"""
    result = f"""\
{snippets.IMPORT}
const result = await fal.queue.result("{endpoint_id}", {{
  requestId: "{REQUEST_ID}"
}});
{snippets.PRINT}"""
    return [
        heading(2, "3. Queue", "queue"),
        heading(3, "Submit a request", "queue-submit"),
        _p("The client API provides a convenient way to submit requests to the model."),
        code(snippets.javascript_submit(endpoint_id, body)),
        heading(3, "Fetch request status", "queue-status"),
        _p("You can fetch the status of a request to check if it is completed or still in progress."),
        code(status),
        heading(3, "Get the result", "queue-result"),
        tag(
            "p",
            "Once the request is completed, you can fetch the result. See the ",
            tag("a", "Output Schema", href="#output"),
            " for the expected result format.",
        ),
        code(result),
    ]


def _files() -> list[Node]:
    return [
        heading(2, "4. Files", "files"),
        _p(
            "Some attributes in the API accept file URLs as input. Whenever that's the case you can pass your own URL "
            "or a Base64 data URI."
        ),
        heading(3, "Data URI (base64)", "files-data"),
        _p(
            "You can pass a Base64 data URI as a file input. The API will handle the file decoding for you. Keep in "
            "mind that for large files, this alternative although convenient can impact the request performance."
        ),
        heading(3, "Hosted files (URL)", "files-hosted"),
        _p(
            "You can also pass your own URLs as long as they are publicly accessible. Be aware that some hosts might "
            "block cross-site requests, rate-limit, or consider the request as a bot."
        ),
        heading(3, "Uploading files", "files-upload"),
        _p(
            "We provide a convenient file storage that allows you to upload files and use them in your requests. You "
            "can upload files using the client API and use the returned URL in your requests."
        ),
        code(_UPLOAD),
        tag(
            "p",
            "Read more about file handling in our ",
            tag("a", "file upload guide", href="https://docs.fal.ai", rel="noreferrer"),
            ".",
        ),
    ]
