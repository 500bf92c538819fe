"""The OpenAPI document of one endpoint's queue, in fal's shape.

The paths hold the whole endpoint id, whatever the URLs in answers hold, and no error is declared: as fal publishes it.
One difference is meant: fal calls its document 3.0.4 but writes JSON Schema into it (lists of examples, numeric
``exclusiveMinimum``), which 3.0 does not allow. The same words are valid 3.1.
"""

from typing import Any

from stillmotion.endpoints.documents.components import REFERENCE, Schema, component_names, components
from stillmotion.endpoints.documents.facts import facts_of
from stillmotion.endpoints.documents.links import Links
from stillmotion.endpoints.endpoint import Endpoint

VERSION = "3.1.0"

QUEUE_STATUS: Schema = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
        "request_id": {"type": "string", "description": "The request id."},
        "response_url": {"type": "string", "description": "The response url."},
        "status_url": {"type": "string", "description": "The status url."},
        "cancel_url": {"type": "string", "description": "The cancel url."},
        "logs": {"type": "object", "description": "The logs.", "additionalProperties": True},
        "metrics": {"type": "object", "description": "The metrics.", "additionalProperties": True},
        "queue_position": {"type": "integer", "description": "The queue position."},
    },
    "required": ["status", "request_id"],
}
REQUEST_ID = {
    "name": "request_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "description": "Request ID"},
}
LOGS = {
    "name": "logs",
    "in": "query",
    "required": False,
    "schema": {
        "type": "number",
        "description": "Whether to include logs (`1`) in the response or not (`0`).",
    },
}
CANCELLED: Schema = {
    "type": "object",
    "properties": {
        "success": {"type": "boolean", "description": "Whether the request was cancelled successfully."},
    },
}


def openapi(endpoint: Endpoint, origin: str) -> dict[str, Any]:
    """The document as a JSON value; its server is the queue under ``origin``."""
    links = Links(origin, endpoint.id)
    return {
        "openapi": VERSION,
        "info": {
            "title": f"Queue OpenAPI for {endpoint.id}",
            "version": "1.0.0",
            "description": f"The OpenAPI schema for the {endpoint.id} queue.",
            "x-fal-metadata": _metadata(endpoint, links),
        },
        "components": {
            "securitySchemes": {
                "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Fal Key"}
            },
            "schemas": {"QueueStatus": QUEUE_STATUS, **components(endpoint)},
        },
        "paths": _paths(endpoint.id),
        "servers": [{"url": links.queue}],
        "security": [{"apiKeyAuth": []}],
    }


def _metadata(endpoint: Endpoint, links: Links) -> dict[str, str]:
    facts = facts_of(endpoint.id)
    return {
        "endpointId": endpoint.id,
        "category": facts.category,
        "playgroundUrl": links.playground,
        "documentationUrl": links.api,
        "about": facts.about or endpoint.summary,
    }


def _paths(endpoint_id: str) -> dict[str, Any]:
    input, output = component_names(endpoint_id)
    request = f"/{endpoint_id}/requests/{{request_id}}"
    status = _answer("The request status.", {"$ref": f"{REFERENCE}QueueStatus"})
    body = {"required": True, "content": _json({"$ref": REFERENCE + input})}
    return {
        f"{request}/status": {"get": {"parameters": [REQUEST_ID, LOGS], **status}},
        f"{request}/cancel": {
            "put": {"parameters": [REQUEST_ID], **_answer("The request was cancelled.", CANCELLED)},
        },
        f"/{endpoint_id}": {"post": {"requestBody": body, **status}},
        request: {
            "get": {"parameters": [REQUEST_ID], **_answer("Result of the request.", {"$ref": REFERENCE + output})},
        },
    }


def _answer(description: str, schema: Schema) -> dict[str, Any]:
    return {"responses": {"200": {"description": description, "content": _json(schema)}}}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
