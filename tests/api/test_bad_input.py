"""Bad input: the documented error shape, never a 500, never a hang, never a traceback, and the server keeps serving."""

import json
import random
import struct
import time
import zlib

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import APP, ENDPOINT, data_uri, picture, small, submit, wait


@pytest.fixture(scope="module")
def client(mock_server):
    with mock_server.client() as client:
        yield client
    log = mock_server.log.read_text()
    assert "Traceback" not in log, log


def fault(client, fields):
    """The one detail of the error that a request with ``fields`` ends in."""
    request = submit(client, **fields)
    status = wait(client, request, seconds=30)
    result = client.get(request["response_url"])
    assert result.status_code == 422, result.text
    assert status["error_type"] == result.json()["detail"][0]["type"]
    (detail,) = result.json()["detail"]
    assert detail["url"].endswith("#" + detail["type"])
    return detail


def huge_png(width: int, height: int) -> bytes:
    """A well-formed black picture whose pixels cost a thousandth of their size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


RAW_BODIES = {
    "not json": b"{nope",
    "truncated": b'{"prompt": "a',
    "trailing": b"{} {}",
    "array": b"[]",
    "string": b'"prompt"',
    "number": b"12",
    "null": b"null",
    "nan": b'{"fps": NaN}',
    "infinity": b'{"fps": Infinity}',
    "invalid utf-8": b'{"prompt": "\xff\xfe"}',
    "utf-16": '{"prompt": "a"}'.encode("utf-16"),
    "lone surrogate": b'{"prompt": "\\ud800"}',
    "nul": b'{"prompt": "a\\u0000b"}',
    "nul in a key": b'{"a\\u0000b": 1}',
    "deep array": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"a":' * 40 + b"1" + b"}" * 40,
    "deep and open": b"[" * 500_000,
    "single quotes": b"{'prompt': 'a'}",
    "control character": b'{"prompt": "a\x01b"}',
}


@pytest.mark.parametrize("name", RAW_BODIES)
@pytest.mark.parametrize("surface", ["queue", "run"])
def test_what_is_not_a_json_object_is_refused_at_submit(client, surface, name):
    answer = client.post(f"/{surface}/{ENDPOINT}", content=RAW_BODIES[name])
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert (detail["loc"], detail["type"]) == (["body"], "json_invalid")
    assert answer.headers["x-fal-request-id"]


def test_an_empty_body_is_an_empty_input(client):
    answer = client.post(f"/run/{ENDPOINT}", content=b"")
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in answer.json()["detail"]] == [
        (["body", "prompt"], "missing"),
        (["body", "image_url"], "missing"),
    ]


def test_huge_integers_are_told(client):
    answer = client.post(f"/run/{ENDPOINT}", content=b'{"prompt":"a","image_url":"b","seed":' + b"9" * 5000 + b"}")
    assert answer.status_code == 422


def test_a_body_beyond_the_limit_is_refused(client):
    answer = client.post(f"/queue/{ENDPOINT}", content=b'{"prompt": "' + b"x" * 3_000_001 + b'"}')
    assert answer.status_code == 413
    assert "detail" in answer.json()


@pytest.mark.parametrize(
    ("fields", "loc", "kind"),
    [
        ({"prompt": "x" * 100_000}, ["prompt"], "sequence_too_long"),
        ({"prompt": 5}, ["prompt"], "string_type"),
        ({"prompt": {"a": [1, {"b": None}]}}, ["prompt"], "string_type"),
        ({"num_frames": 1e9}, ["num_frames"], "less_than_equal"),
        ({"num_frames": "many"}, ["num_frames"], "int_parsing"),
        ({"num_frames": 9.5}, ["num_frames"], "int_from_float"),
        ({"fps": -1}, ["fps"], "greater_than_equal"),
        ({"generate_audio": "perhaps"}, ["generate_audio"], "bool_parsing"),
        ({"video_size": {"width": 100_000, "height": 64}}, ["video_size", "width"], "less_than_equal"),
        ({"video_quality": "best"}, ["video_quality"], "one_of"),
        ({"image_url": ""}, ["image_url"], "file_download_error"),
        ({"image_url": "ftp://example.com/a.png"}, ["image_url"], "file_download_error"),
        ({"image_url": "file:///etc/passwd"}, ["image_url"], "file_download_error"),
        ({"image_url": "/etc/passwd"}, ["image_url"], "file_download_error"),
        ({"image_url": "http://127.0.0.1:1/a.png"}, ["image_url"], "file_download_error"),
        ({"image_url": "http://169.254.169.254/latest/meta-data"}, ["image_url"], "file_download_error"),
        ({"image_url": "http://10.1.2.3/a.png"}, ["image_url"], "file_download_error"),
        ({"image_url": "https://nowhere.invalid/a.png"}, ["image_url"], "file_download_error"),
        ({"image_url": "http://[::1"}, ["image_url"], "file_download_error"),
        ({"image_url": "data:image/png;base64,???"}, ["image_url"], "file_download_error"),
        ({"image_url": data_uri(b"")}, ["image_url"], "file_download_error"),
        ({"image_url": data_uri(b"hello, I am no image")}, ["image_url"], "unsupported_image_format"),
        ({"image_url": data_uri(b"GIF89a" + bytes(100), "image/gif")}, ["image_url"], "unsupported_image_format"),
        ({"image_url": data_uri(picture()[:-200])}, ["image_url"], "image_load_error"),
        ({"image_url": data_uri(picture(format="JPEG")[:400])}, ["image_url"], "image_load_error"),
        ({"image_url": data_uri(huge_png(20_000, 100))}, ["image_url"], "image_too_large"),
        ({"image_url": data_uri(huge_png(13_000, 13_000))}, ["image_url"], "image_too_large"),
        ({"image_url": data_uri(picture(8, 8))}, ["image_url"], "image_too_small"),
    ],
)
def test_faulty_fields_end_in_the_documented_error(client, fields, loc, kind):
    detail = fault(client, fields)
    assert (detail["loc"], detail["type"]) == (["body", *loc], kind)
    assert len(json.dumps(detail)) < 2000, "the input is echoed, not returned"


def test_an_image_too_large_names_the_limits(client):
    detail = fault(client, {"image_url": data_uri(huge_png(20_000, 100))})
    assert detail["ctx"]["max_width"] < 20_000


def test_an_image_over_the_byte_limit_is_told(tmp_path_factory):
    from serving import serving

    with serving(tmp_path_factory.mktemp("limited"), max_image_bytes=2000) as server, server.client() as client:
        detail = fault(client, {"image_url": data_uri(bytes(3000))})
        assert (detail["type"], detail["ctx"]) == ("file_too_large", {"max_size": 2000})


def test_strict_submit_refuses_at_once(tmp_path_factory):
    from serving import serving

    with serving(tmp_path_factory.mktemp("strict"), strict_submit="true") as server, server.client() as client:
        answer = client.post(f"/queue/{ENDPOINT}", json=small(num_frames=1))
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["type"] == "greater_than_equal"


def test_unknown_fields_are_ignored_and_named_in_the_log(client):
    request = submit(client, loras=[], strength=2)
    status = wait(client, request)
    assert "error" not in status
    assert any("unknown fields are ignored: loras, strength" in line["message"] for line in status["logs"])


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example:8000"])
def test_a_web_page_that_the_user_visits_may_not_use_the_server(client, origin):
    for method, path in (("POST", f"/queue/{ENDPOINT}"), ("GET", "/health/live"), ("GET", f"/queue/{APP}/requests/x")):
        assert client.request(method, path, headers={"origin": origin}).status_code == 403


def test_a_rebound_name_is_refused(client):
    assert client.get("/health/live", headers={"host": "evil.example"}).status_code == 421


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["prompt", "num_frames", "video_size", "fps", "seed", "camera_lora", "negative_prompt", "image_strength", "other"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_is_answered_in_a_documented_shape(client, fields):
    answer = client.post(f"/queue/{ENDPOINT}", json={"image_url": "data:,", **fields})
    if answer.status_code == 200:
        wait(client, answer.json(), seconds=10)
        answer = client.get(answer.json()["response_url"])
    assert answer.status_code == 422
    for detail in answer.json()["detail"]:
        assert detail["loc"][0] == "body"
        assert set(detail) >= {"loc", "msg", "type", "url"}


def test_random_bytes_are_never_a_server_error(client):
    rng = random.Random(7)
    for _ in range(60):
        body = rng.randbytes(rng.randrange(1, 200))
        assert client.post(f"/queue/{ENDPOINT}", content=body).status_code == 422


def test_the_server_is_well_afterwards(client, mock_server):
    """Runs last: after all of the above a request still becomes a video."""
    began = time.monotonic()
    assert client.post(f"/run/{ENDPOINT}", json=small()).status_code == 200
    assert time.monotonic() - began < 20
    assert mock_server.process.poll() is None
    with httpx2.Client(base_url=mock_server.http, trust_env=False) as other:
        assert other.get("/health/ready").status_code == 200
