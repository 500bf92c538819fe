"""``stillmotion webhooks`` beside a running server."""

import subprocess
import sys

from webhook_client import Webhooks
from webhook_receiver import until, verify

from serving import Server, clean_environment, serving


def command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "stillmotion", "webhooks", *arguments, "--data", str(server.data)]
    return subprocess.run(line, env=clean_environment(), capture_output=True, text=True, timeout=60)


def test_what_became_of_webhooks_is_shown_and_one_is_delivered_again(server, receiver, webhooks):
    receiver.answers["/command"] = [410, 200]
    id = webhooks.submit(f"{receiver.url}/command?token=secret")
    until(lambda: webhooks.log(id)["state"] == "failed", "the refusal")
    listed = command(server, "list")
    assert listed.returncode == 0, listed.stderr
    (line,) = [line.split() for line in listed.stdout.splitlines() if id in line]
    assert line == [id, f"{receiver.url}/command", "failed", "1"]
    again = command(server, "redeliver", id)
    assert again.returncode == 0, again.stderr
    until(lambda: webhooks.log(id)["state"] == "delivered", "the second delivery")
    shown = command(server, "list", "--request", id)
    assert shown.returncode == 0, shown.stderr
    header, webhook, _, columns, first, second = [line.split() for line in shown.stdout.splitlines()]
    assert header[:3] == ["request", "receiver", "state"]
    assert webhook[2:] == ["delivered", "2"]
    assert columns[0] == "delivery"
    assert [(line[0], line[3]) for line in (first, second)] == [("1", "410"), ("2", "200")]
    absent = command(server, "redeliver", "no/such")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "no/such" in absent.stderr


def test_keys_are_rotated_beside_the_server(tmp_path, receiver):
    with serving(tmp_path, mock_seconds=0.02) as server, server.client() as client:
        webhooks = Webhooks(client)
        (old,) = webhooks.keys()
        rotated = command(server, "rotate")
        assert rotated.returncode == 0, rotated.stderr
        first, coming = webhooks.keys()
        assert first == old
        (received,) = receiver.wait(webhooks.submit(f"{receiver.url}/before"))
        assert verify(received, [old]), "who kept the old set can verify for a day"
        assert not verify(received, [coming])
        assert command(server, "rotate", "--now").returncode == 0
        (new,) = webhooks.keys()
        assert new not in (old, coming)
        (received,) = receiver.wait(webhooks.submit(f"{receiver.url}/after"))
        assert verify(received, [new])
        assert server.stop() == 0
        server.start()
        assert webhooks.keys() == [new], "made once"
