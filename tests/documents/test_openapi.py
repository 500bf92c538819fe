"""The served OpenAPI documents: valid, in fal's shape, and true about this server's queue."""

import copy

import pytest

from requirements import need_package
from serving import small, wait
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.documents.components import component_names

LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"
NAMES = {
    "fal-ai/ltx-2/image-to-video": "Ltx2ImageToVideo",
    "fal-ai/ltx-2.3/image-to-video": "Ltx23ImageToVideo",
    "fal-ai/ltx-2-19b/image-to-video": "Ltx219bImageToVideo",
    LORA: "Ltx2322bImageToVideoLora",
    "fal-ai/ltx-2.3-quality/image-to-video": "Ltx23QualityImageToVideo",
}
OTHERS = {
    "fal-ai/ltx-2/image-to-video": ["VideoFile"],
    "fal-ai/ltx-2.3/image-to-video": ["VideoFile"],
    "fal-ai/ltx-2-19b/image-to-video": ["ImageSize", "VideoFile"],
    LORA: ["ImageSize", "LoRAInput", "VideoFile"],
    "fal-ai/ltx-2.3-quality/image-to-video": ["File", "ImageSize", "VideoFile"],
}


@pytest.fixture(params=CATALOGUE)
def id(request):
    return request.param


@pytest.fixture
def served(client, id):
    answer = client.get("/api/openapi/queue/openapi.json", params={"endpoint_id": id})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_it_is_valid(served):
    need_package("openapi_spec_validator", "pip install 'stillmotion[dev]'")
    from openapi_spec_validator import OpenAPIV31SpecValidator, validate
    from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

    validate(served, cls=OpenAPIV31SpecValidator)
    broken = copy.deepcopy(served)
    del broken["info"]["title"]
    with pytest.raises(OpenAPIValidationError):
        validate(broken, cls=OpenAPIV31SpecValidator)


def test_it_has_fals_shape(served, id, mock_server):
    base = mock_server.http
    assert list(served) == ["openapi", "info", "components", "paths", "servers", "security"]
    assert served["info"]["title"] == f"Queue OpenAPI for {id}"
    metadata = served["info"]["x-fal-metadata"]
    assert (metadata["endpointId"], metadata["category"]) == (id, "image-to-video")
    assert metadata["playgroundUrl"] == f"{base}/models/{id}"
    assert metadata["documentationUrl"] == f"{base}/models/{id}/api"
    assert served["servers"] == [{"url": f"{base}/queue"}]
    assert served["components"]["securitySchemes"]["apiKeyAuth"]["name"] == "Authorization"
    assert [(path, *operations) for path, operations in served["paths"].items()] == [
        (f"/{id}/requests/{{request_id}}/status", "get"),
        (f"/{id}/requests/{{request_id}}/cancel", "put"),
        (f"/{id}", "post"),
        (f"/{id}/requests/{{request_id}}", "get"),
    ]


def test_the_components_are_named_as_fal_names_them(served, id):
    input, output = f"{NAMES[id]}Input", f"{NAMES[id]}Output"
    assert component_names(id) == (input, output)
    schemas = served["components"]["schemas"]
    assert list(schemas) == ["QueueStatus", input, output, *OTHERS[id]]
    for name, schema in schemas.items():
        if name != "QueueStatus":
            assert schema["x-fal-order-properties"] == list(schema["properties"])
            assert all(field["title"] and "description" in field for field in schema["properties"].values())
    assert schemas[input]["x-fal-order-properties"] == list(CATALOGUE[id].input.model_fields)


def test_an_optional_field_is_told_without_null(served):
    def walk(value):
        if isinstance(value, dict):
            assert value.get("type") != "null"
            assert value.get("default", ...) is not None
            assert set(value) == {"$ref"} or "$ref" not in value
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(served)


def test_nothing_of_the_code_shines_through(served, id):
    """Docstrings, module names and pydantic's own references are no part of the document."""
    text = str(served)
    assert "$defs" not in text
    assert "stillmotion" not in text.replace("http://", "").lower()
    for schema in served["components"]["schemas"].values():
        assert "description" not in schema


# The two tiered endpoints make nothing below 1080p and 6 seconds, which takes the mock engine 5 seconds each.
SMALL = {
    "fal-ai/ltx-2-19b/image-to-video": {},
    LORA: {"loras": []},
    "fal-ai/ltx-2.3-quality/image-to-video": {"resolution": {"width": 64, "height": 64}},
}


@pytest.mark.parametrize("id", SMALL)
def test_the_requests_that_it_describes_work(client, served, id):
    base, (status, cancel, submit, result) = served["servers"][0]["url"], served["paths"]
    answer = client.post(base + submit, json=small(**SMALL[id]))
    assert answer.status_code == 200, answer.text
    done = wait(client, answer.json())
    assert "error" not in done, done
    request = {"request_id": done["request_id"]}
    assert client.get(base + status.format(**request)).json()["status"] == "COMPLETED"
    output = client.get(base + result.format(**request)).json()
    assert set(served["components"]["schemas"][f"{NAMES[id]}Output"]["required"]) <= set(output)
    assert client.put(base + cancel.format(**request)).json() == {"status": "ALREADY_COMPLETED"}


@pytest.mark.parametrize("id", [id for id in CATALOGUE if id not in SMALL])
def test_the_requests_that_it_describes_are_taken_and_cancelled(client, served, id):
    base, (status, cancel, submit, _) = served["servers"][0]["url"], served["paths"]
    answer = client.post(base + submit, json={"prompt": "a test", "image_url": small()["image_url"]})
    request = {"request_id": answer.json()["request_id"]}
    assert client.put(base + cancel.format(**request)).json() == {"status": "CANCELLATION_REQUESTED"}
    assert wait(client, answer.json())["error_type"] == "client_cancelled"
    assert client.get(base + status.format(**request)).json()["status"] == "COMPLETED"


@pytest.mark.parametrize("query", ["", "?endpoint_id=", "?endpoint_id=fal-ai/none", "?endpoint_id=fal-ai/ltx-2"])
def test_an_unknown_endpoint_is_null(client, query):
    answer = client.get(f"/api/openapi/queue/openapi.json{query}")
    assert (answer.status_code, answer.text) == (404, "null")
    assert answer.headers["content-type"] == "application/json"


def test_an_escaped_id_is_the_same_id(client):
    answer = client.get(f"/api/openapi/queue/openapi.json?endpoint_id={LORA.replace('/', '%2F')}")
    assert answer.json()["info"]["x-fal-metadata"]["endpointId"] == LORA
