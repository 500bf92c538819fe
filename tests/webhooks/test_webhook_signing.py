"""The file of keys: which key signs, which are published, and what a damaged file does."""

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stillmotion.errors import ConfigurationError
from stillmotion.service.webhook_signing import DAY, SigningKeys

HOUR = 3600.0


def keys(path, *begins):
    """Keys that begin to sign so many seconds from now; the first has always signed."""
    times = [0.0, *(time.time() + seconds for seconds in begins)]
    told = [{"seed": base64.b64encode(bytes([n]) * 32).decode(), "signs_from": at} for n, at in enumerate(times)]
    path.write_text(json.dumps(told))
    return SigningKeys(path)


def names(keys):
    return [key["x"] for key in keys.public()]


def signer(keys):
    """Index among the published keys of the one that signs."""
    signature = bytes.fromhex(keys.sign(b"text"))
    fits = []
    for index, name in enumerate(names(keys)):
        try:
            Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(name + "=")).verify(signature, b"text")
        except Exception:
            continue
        fits.append(index)
    (found,) = fits
    return found


def test_the_first_key_is_made_once_and_for_its_user_alone(tmp_path):
    path = tmp_path / "deep" / "keys.json"
    made = SigningKeys(path)
    made.ensure()
    before = path.read_bytes()
    made.ensure()
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["keys.json"]
    (key,) = made.public()
    assert key.keys() == {"kty", "crv", "x", "kid", "use", "alg"}
    assert len(bytes.fromhex(made.sign(b""))) == 64


@pytest.mark.parametrize(
    ("begins", "published", "signs"),
    [
        ([], [0], 0),
        ([HOUR], [0, 1], 0),
        ([-HOUR], [0, 1], 1),
        ([-DAY + HOUR], [0, 1], 1),
        ([-DAY - HOUR], [1], 1),
        ([-DAY - HOUR, HOUR], [1, 2], 1),
        ([-3 * DAY, -2 * DAY], [2], 2),
    ],
    ids=["one", "coming", "just replaced", "a day not yet over", "withdrawn", "one of each", "long ago"],
)
def test_a_key_is_published_a_day_before_and_after_it_signs(tmp_path, begins, published, signs):
    every = names(keys(tmp_path / "all", *[HOUR] * len(begins)))
    found = keys(tmp_path / "keys", *begins)
    assert names(found) == [every[index] for index in published]
    assert published[signer(found)] == signs


def test_a_rotation_keeps_what_receivers_may_still_need(tmp_path):
    made = keys(tmp_path / "keys", -DAY - HOUR)
    (present,) = names(made)
    begins = made.rotate()
    assert abs(begins - time.time() - DAY) < 60
    assert names(made)[0] == present
    assert signer(made) == 0
    with pytest.raises(ConfigurationError, match="published already"):
        made.rotate()
    made.rotate(at_once=True)
    (new,) = names(made)
    assert new != present
    assert signer(made) == 0


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"seed": "AA==", "signs_from": 0}]', '[{"signs_from": 0}]'])
def test_a_damaged_file_is_told_and_not_replaced(tmp_path, text):
    path = tmp_path / "keys"
    path.write_text(text)
    for use in (SigningKeys(path).ensure, SigningKeys(path).public, SigningKeys(path).rotate):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            use()
    assert path.read_text() == text
