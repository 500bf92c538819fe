"""``llms.txt``: an endpoint on one page of Markdown, laid out as fal lays it out, line by line."""

from collections.abc import Iterator
from string import Template

from stillmotion.endpoints.documents import snippets
from stillmotion.endpoints.documents.components import component_names, components
from stillmotion.endpoints.documents.facts import facts_of
from stillmotion.endpoints.documents.fields import Field, as_json, fields, full_example, required_example
from stillmotion.endpoints.documents.links import Links
from stillmotion.endpoints.endpoint import Endpoint

_LAYOUT = Template("""\
# $title

> $summary


## Overview

- **Endpoint**: `$run`
- **Model ID**: `$id`
- **Category**: $category
- **Kind**: $kind
$tags

## Pricing

$pricing

For more details, see [fal.ai pricing](https://fal.ai/pricing).

## API Information

This model can be used via our HTTP API or more conveniently via our client libraries.
See the input and output schema below, as well as the usage examples.


### Input Schema

The API accepts the following input parameters:


$inputs



**Required Parameters Example**:

```json
$required
```

**Full Example**:

```json
$full
```


### Output Schema

The API returns the following output format:

$outputs



**Example Response**:

```json
$response
```


## Usage Examples

### cURL

```bash
$curl
```

### Python

Ensure you have the Python client installed:

```bash
pip install fal-client
```

Then use the API client to make requests:

```python
$python
```

### JavaScript

Ensure you have the JavaScript client installed:

```bash
npm install --save @fal-ai/client
```

Then use the API client to make requests:

```javascript
$javascript
```


## Additional Resources

### Documentation

- [Model Playground]($playground)
- [API Documentation]($api)
- [OpenAPI Schema]($openapi)

### fal.ai Platform

- [Platform Documentation](https://docs.fal.ai)
- [Python Client](https://docs.fal.ai/clients/python)
- [JavaScript Client](https://docs.fal.ai/clients/javascript)
""")


def llms(endpoint: Endpoint, origin: str) -> str:
    """The page, with this server's part of its links under ``origin``."""
    links, facts, schemas = Links(origin, endpoint.id), facts_of(endpoint.id), components(endpoint)
    input, output = component_names(endpoint.id)
    body = required_example(schemas, input)
    return _LAYOUT.substitute(
        title=endpoint.title,
        summary=endpoint.summary,
        id=endpoint.id,
        category=facts.category,
        kind=facts.kind,
        tags=_tags(facts.tags),
        pricing=endpoint.pricing.text if endpoint.pricing else "This endpoint is not priced.",
        inputs=_bullets(fields(schemas[input])),
        required=snippets.as_indented_json(body),
        full=snippets.as_indented_json(full_example(schemas, input)),
        outputs=_bullets(fields(schemas[output])),
        response=snippets.as_indented_json(full_example(schemas, output)),
        curl=snippets.curl(links.run, body),
        python=snippets.python(endpoint.id, body),
        javascript=snippets.javascript(endpoint.id, body),
        run=links.run,
        playground=links.playground,
        api=links.api,
        openapi=links.openapi,
    )


def _tags(tags: tuple[str, ...]) -> str:
    """The line after the list: empty without tags, and followed by two more with them."""
    return f"**Tags**: {', '.join(tags)}\n\n" if tags else ""


def _bullets(described: tuple[Field, ...]) -> str:
    return "\n\n".join("\n".join(_bullet(field)) for field in described)


def _bullet(field: Field) -> Iterator[str]:
    need = "required" if field.required else "optional"
    yield f"- **`{field.name}`** (`{' | '.join(field.types)}`, _{need}_):"
    yield f"  {field.description}"
    yield from (f"  - {line}" for line in _attributes(field))


def _attributes(field: Field) -> Iterator[str]:
    schema = field.schema
    if "default" in schema:
        yield f"Default: `{as_json(schema['default'])}`"
    yield from _range(*field.bounds)
    if field.is_union:
        yield f"One of: {' | '.join(field.types)}"
    elif field.values:
        yield f"Options: {', '.join(f'`{as_json(value)}`' for value in field.values)}"
    if field.item:
        yield f"Array of {field.item}"
    if examples := schema.get("examples"):
        yield f"Examples: {', '.join(map(as_json, examples))}"


def _range(low: float | None, high: float | None) -> Iterator[str]:
    if low is not None and high is not None:
        yield f"Range: `{low}` to `{high}`"
    elif low is not None:
        yield f"Minimum: `{low}`"
    elif high is not None:
        yield f"Maximum: `{high}`"
