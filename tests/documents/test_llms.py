"""llms.txt equals the user's document of the same endpoint, but for the hosts in five lines."""

import ast
import json
import re
import shlex
import ssl
import subprocess
import sys
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import clean_environment
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.documents import snippets
from stillmotion.endpoints.documents.llms import llms

QUALITY = "fal-ai/ltx-2.3-quality/image-to-video"
FOUR = [id for id in CATALOGUE if id != QUALITY]


def allowed(id, base):
    """Every line that may differ, and what stands there instead."""
    return {
        f"- **Endpoint**: `https://fal.run/{id}`": f"- **Endpoint**: `{base}/run/{id}`",
        f"  --url https://fal.run/{id} \\": f"  --url {base}/run/{id} \\",
        f"- [Model Playground](https://fal.ai/models/{id})": f"- [Model Playground]({base}/models/{id})",
        f"- [API Documentation](https://fal.ai/models/{id}/api)": f"- [API Documentation]({base}/models/{id}/api)",
        f"- [OpenAPI Schema](https://fal.ai/api/openapi/queue/openapi.json?endpoint_id={id})": (
            f"- [OpenAPI Schema]({base}/api/openapi/queue/openapi.json?endpoint_id={id})"
        ),
    }


@pytest.mark.parametrize("id", FOUR)
def test_it_equals_the_document_line_by_line(client, mock_server, written, id):
    answer = client.get(f"/models/{id}/llms.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    differing = allowed(id, mock_server.http)
    expected = written(id).split("\n")
    assert sum(line in differing for line in expected) == len(differing)
    assert answer.text.split("\n") == [differing.get(line, line) for line in expected]


def test_the_hosts_are_those_that_the_reader_used(mock_server):
    context = ssl.create_default_context(cafile=mock_server.environment()["SSL_CERT_FILE"])
    url = f"{mock_server.https}/models/{FOUR[0]}/llms.txt"
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        text = answer.read().decode()
    assert f"[Model Playground]({mock_server.https}/models/{FOUR[0]})" in text


def test_the_fifth_endpoint_has_one_of_the_same_layout(client, written):
    """Its document is a page; the headings, and the words that no schema changes, are those of the other four."""
    text = client.get(f"/models/{QUALITY}/llms.txt").text
    other = written(FOUR[0])
    assert headings(text)[1:] == headings(other)[1:]
    assert headings(text)[0] == "# Ltx 2.3 Quality"
    assert re.findall(r"^- \*\*`(\w+)`\*\*", text, re.M) == [
        *CATALOGUE[QUALITY].input.model_fields,
        *CATALOGUE[QUALITY].output.model_fields,
    ]
    assert "- **`resolution`** (`ImageSize | Enum`, _optional_):\n" in text
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", text, re.S)]
    page = written(QUALITY)
    for example in examples[1:]:
        assert json.dumps(example, indent=2) in page


def headings(text):
    code = False
    found = []
    for line in text.split("\n"):
        code ^= line.startswith("```")
        if line.startswith("#") and not code:
            found.append(line)
    return found


def test_an_unknown_endpoint_is_404(client):
    for path in ("fal-ai/none", "fal-ai/ltx-2/none", "x", "../../etc/passwd", "%3Cscript%3E"):
        answer = client.get(f"/models/{path}/llms.txt")
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("id", CATALOGUE)
def test_the_curl_command_reaches_the_endpoint(client, id):
    text = client.get(f"/models/{id}/llms.txt").text
    (command,) = re.findall(r"```bash\n(curl .*?)\n```", text, re.S)
    words = shlex.split(command)
    assert words[:3] == ["curl", "--request", "POST"]
    body = json.loads(words[words.index("--data") + 1])
    # Without any field, the endpoint that answers names those that the example has.
    answer = client.post(words[words.index("--url") + 1], json={})
    assert answer.status_code == 422
    assert [(fault["loc"], fault["type"]) for fault in answer.json()["detail"]] == [
        (["body", name], "missing") for name in body
    ]


@pytest.mark.parametrize("id", CATALOGUE)
def test_the_python_example_is_the_required_example(client, id):
    text = client.get(f"/models/{id}/llms.txt").text
    (program,) = re.findall(r"```python\n(.*?)\n```", text, re.S)
    (call,) = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call) and len(node.keywords) == 3]
    required = json.loads(re.search(r"Required Parameters Example\*\*:\n\n```json\n(.*?)\n```", text, re.S)[1])
    assert ast.literal_eval(call.args[0]) == id
    assert ast.literal_eval(call.keywords[0].value) == required


@pytest.mark.parametrize("command", ["llms", "openapi"])
def test_the_command_line_prints_what_is_served(client, mock_server, command):
    id = FOUR[0]
    path = {"llms": f"/models/{id}/llms.txt", "openapi": f"/api/openapi/queue/openapi.json?endpoint_id={id}"}[command]
    assert stillmotion(command, id, "--url", mock_server.http).stdout == client.get(path).text


def test_the_command_line_needs_no_server():
    assert "`http://127.0.0.1:8000/run/" in stillmotion("llms", QUALITY).stdout


@pytest.mark.parametrize("arguments", [("llms", "fal-ai/none"), ("openapi", QUALITY, "--url", "localhost:8000")])
def test_the_command_line_tells_what_does_not_fit(arguments):
    done = stillmotion(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert arguments[-1] in done.stderr


def stillmotion(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "stillmotion", *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODY = st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), JSON, max_size=4)


@given(BODY, st.sampled_from(["localhost", "[::1]:8000", "a';b", "$(c)", "d e"]))
def test_any_example_survives_the_shell(body, host):
    words = shlex.split(snippets.curl(f"http://{host}/run/x", body))
    assert json.loads(words[words.index("--data") + 1]) == body
    assert words[words.index("--url") + 1] == f"http://{host}/run/x"


@given(BODY)
def test_any_example_survives_python(body):
    call = ast.parse(snippets.python("x", body)).body[-2].value
    assert ast.literal_eval(call.keywords[0].value) == body


def test_nothing_of_the_text_depends_on_the_server():
    """The same words under any origin: only the origin itself changes."""
    one, two = (llms(CATALOGUE[QUALITY], origin) for origin in ("http://a", "https://b:1"))
    assert one.replace("http://a", "https://b:1") == two
