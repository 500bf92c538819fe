"""What the tests of the platform API share."""

LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"


def fault(answer, status, type):
    """The message of an error in the platform API's shape."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]["type"] == type
    return answer.json()["error"]["message"]
