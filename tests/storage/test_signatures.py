"""The secrets behind signed URLs and tokens: how they replace each other, and what each is good for."""

import base64
import json

from stillmotion.files.rotating_secrets import SIGNS_SECONDS, RotatingSecrets
from stillmotion.service.signatures import LONGEST_SECONDS, Signatures
from stillmotion.service.signed_urls import SignedUrls


async def test_secrets_replace_each_other_and_what_they_signed_stays_good(tmp_path):
    path, day = tmp_path / "keys.json", 86400.0
    secrets = RotatingSecrets(path, longest=LONGEST_SECONDS)
    first = secrets.newest(0.0)
    assert secrets.newest(SIGNS_SECONDS - 1) == first
    second = secrets.newest(SIGNS_SECONDS)
    assert second != first
    assert RotatingSecrets(path, longest=LONGEST_SECONDS).live(8 * day) == [first, second]
    assert secrets.live(SIGNS_SECONDS + LONGEST_SECONDS - 1) == [first, second]
    assert secrets.live(SIGNS_SECONDS + LONGEST_SECONDS) == [second]
    # Nobody asked for months: what is left is replaced by the next signature.
    third = secrets.newest(100 * day)
    assert secrets.live(100 * day) == [second, third]
    assert first not in [base64.b64decode(each["secret"]) for each in json.loads(path.read_text())]
    assert path.stat().st_mode & 0o077 == 0


async def test_a_secret_that_cannot_be_kept_does_not_end_the_present_one(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    secrets = RotatingSecrets(folder / "keys.json", longest=LONGEST_SECONDS)
    first = secrets.newest(0.0)
    (folder / "keys.json").unlink()
    folder.rmdir()
    assert secrets.newest(SIGNS_SECONDS) == first


async def test_what_is_signed_for_one_thing_is_good_for_no_other(tmp_path):
    secrets = RotatingSecrets(tmp_path / "keys.json", longest=LONGEST_SECONDS)
    url = await SignedUrls(Signatures(secrets, "token")).sign("http://h/files/a.mp4", "a.mp4", 60)
    identity = url.partition("identity=")[2]
    assert SignedUrls(Signatures(secrets, "token")).admits("a.mp4", identity)
    assert not SignedUrls(Signatures(secrets, "file")).admits("a.mp4", identity)
