"""Example calls in the languages of the documents, as text that can be pasted and run."""

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

_ON_UPDATE = """\
  logs: true,
  onQueueUpdate: (update) => {
    if (update.status === "IN_PROGRESS") {
      update.logs.map((log) => log.message).forEach(console.log);
    }
  },
"""
IMPORT = 'import { fal } from "@fal-ai/client";\n'
PRINT = "console.log(result.data);\nconsole.log(result.requestId);"


def as_indented_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def curl(url: str, body: Mapping[str, Any]) -> str:
    # Inside single quotes a shell takes everything literally but the quote itself.
    data = as_indented_json(body).replace("\n", "\n   ").replace("'", "'\\''")
    return (
        "curl --request POST \\\n"
        f"  --url {shlex.quote(url)} \\\n"
        '  --header "Authorization: Key $FAL_KEY" \\\n'
        '  --header "Content-Type: application/json" \\\n'
        f"  --data '{data}'"
    )


def python(endpoint_id: str, body: Mapping[str, Any]) -> str:
    arguments = _literal(body, key=_text, scalar=_python_scalar, step=4, depth=4)
    return f"""\
import fal_client

def on_queue_update(update):
    if isinstance(update, fal_client.InProgress):
        for log in update.logs:
           print(log["message"])

result = fal_client.subscribe(
    "{endpoint_id}",
    arguments={arguments},
    with_logs=True,
    on_queue_update=on_queue_update,
)
print(result)"""


def javascript(endpoint_id: str, body: Mapping[str, Any]) -> str:
    """Subscribe: submit, follow, and print the result."""
    return (
        f"{IMPORT}\n"
        f'const result = await fal.subscribe("{endpoint_id}", {{\n'
        f"  input: {_javascript(body)},\n"
        f"{_ON_UPDATE}"
        "});\n"
        f"{PRINT}"
    )


def javascript_submit(endpoint_id: str, body: Mapping[str, Any]) -> str:
    return (
        f"{IMPORT}\n"
        f'const {{ request_id }} = await fal.queue.submit("{endpoint_id}", {{\n'
        f"  input: {_javascript(body)},\n"
        '  webhookUrl: "https://optional.webhook.url/for/results",\n'
        "});"
    )


def _javascript(body: Mapping[str, Any]) -> str:
    return _literal(body, key=str, scalar=_text, step=2, depth=2)


def _literal(value: Any, *, key: Callable[[str], str], scalar: Callable[[Any], str], step: int, depth: int) -> str:
    """A literal over several lines. ``depth`` is the column of the line that it begins on; lists add no depth."""
    if isinstance(value, Mapping):
        inner = depth + step
        members = [
            f"{' ' * inner}{key(name)}: {_literal(item, key=key, scalar=scalar, step=step, depth=inner)}"
            for name, item in value.items()
        ]
        return "{\n" + ",\n".join(members) + f"\n{' ' * depth}}}"
    if isinstance(value, list):
        items = (_literal(item, key=key, scalar=scalar, step=step, depth=depth) for item in value)
        return f"[{', '.join(items)}]"
    return scalar(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _python_scalar(value: Any) -> str:
    return _text(value) if isinstance(value, str) else repr(value)
