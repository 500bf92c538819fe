"""Keys and usage on the operators' page of a server that asks for keys, and who may see it at all."""

import re
import subprocess
import sys
from collections import Counter
from datetime import datetime

import pytest
from browser import wait_until
from operations_page import OPEN, made_before, open_section
from views import amiss

from serving import ENDPOINT, clean_environment, serving, small, wait

PRO = "fal-ai/ltx-2/image-to-video"
MADE = [
    ("studio", 0, 31.5, ENDPOINT),
    ("studio", 3, 20.25, ENDPOINT),
    ("studio", 3, 2, PRO),
    ("alice", 0, 4, ENDPOINT),
    ("alice", 20, 8, ENDPOINT),
    ("alice", 80, 1.5, ENDPOINT),
]
"""Key, days ago, GPU seconds, endpoint."""


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    data = tmp_path_factory.mktemp("open")
    made_before(data, MADE)
    with serving(data, mock_seconds=0.1, **OPEN) as server:
        server.http = server.http.replace("0.0.0.0", "127.0.0.1")
        yield server


@pytest.fixture(scope="module")
def admin(open_server):
    (key,) = re.findall(r"shown this once: (\S+)", open_server.log.read_text())
    return key


@pytest.fixture(scope="module")
def client(open_server, admin):
    with open_server.client(headers={"authorization": f"Key {admin}"}) as client:
        for alias in ("studio", "alice"):
            assert client.post("/v1/keys", json={"alias": alias}).status_code == 201
        yield client


def test_a_key_that_is_made_here_works_until_it_is_revoked(visit, open_server, admin, client):
    watched = visit(server=open_server)
    page = open_section(watched, "keys", admin)
    page.get_by_label("Name").fill("Not a name")
    page.get_by_role("button", name="Create").click()
    assert page.evaluate("document.querySelector('.op-form input').validity.patternMismatch")
    page.get_by_label("Name").fill("camera-7")
    page.get_by_role("button", name="Create").press("Enter")
    secret = page.get_by_label("Key of camera-7, shown this once").input_value()
    assert amiss(watched, "operations-keys-full") == {}
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    with open_server.client(headers={"authorization": f"Key {secret}"}) as camera:
        submitted = camera.post(f"/queue/{ENDPOINT}", json=small())
        assert submitted.status_code == 200
        wait(camera, submitted.json())
        assert camera.get("/v1/caller").json() == {
            "key": "camera-7",
            "key_id": secret.partition(":")[0],
            "scope": "api",
            "required": True,
        }
        page.get_by_role("button", name="I have it").click()
        line = page.locator(f"[data-key='{secret.partition(':')[0]}']")
        line.get_by_role("button", name="Revoke").click()
        assert camera.get("/v1/requests").status_code == 200
        line.get_by_role("button", name="Revoke for good").click()
        page.locator("summary", has_text="Revoked").wait_for()
        assert camera.post(f"/queue/{ENDPOINT}", json=small()).status_code == 401
    # The secret was shown once, and is nowhere any more.
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    left = page.evaluate(
        "document.documentElement.outerHTML + JSON.stringify([localStorage, sessionStorage, location.href])"
        " + [...document.querySelectorAll('input')].map((each) => each.value).join()"
    )
    assert "camera-7" in left
    assert secret.partition(":")[2] not in left
    page.reload()
    page.get_by_role("heading", name="New key").wait_for()
    assert secret.partition(":")[2] not in page.content() + client.get("/v1/keys").text + open_server.log.read_text()


def test_the_last_admin_key_stays_and_the_page_says_why(visit, open_server, admin):
    watched = visit(server=open_server)
    watched.expected = ("400",)
    page = open_section(watched, "keys", admin)
    line = page.locator(f"[data-key='{admin.partition(':')[0]}']")
    line.get_by_role("button", name="Revoke").click()
    line.get_by_role("button", name="Revoke this page's own key").click()
    page.get_by_role("alert").get_by_text("this is the last admin key").wait_for()


@pytest.mark.parametrize("days", [7, 90])
def test_the_chart_shows_what_was_used(visit, open_server, admin, client, days):
    watched = visit(server=open_server)
    page = open_section(watched, "usage", admin)
    page.locator(".segment", has_text=f"{days} days").click()
    wait_until(page, f"document.querySelectorAll('.op-bars g').length === {days}")
    zone = page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
    told = client.get("/v1/usage", params={"timezone": zone, "start": datetime.fromtimestamp(0).isoformat()})
    assert told.status_code == 400  # the page asks for no more than the server gives
    first = page.locator(".op-bars g").first.get_attribute("data-day")
    told = client.get("/v1/usage", params={"timezone": zone, "start": f"{first}T00:00:00"}).json()["days"]
    lines = [(day["day"], line) for day in told for line in day["results"]]
    expected = [each for each in MADE if each[1] < days]
    assert sum(line["request_count"] for _, line in lines if line["key"] != "camera-7") == len(expected)
    assert sum(line["gpu_seconds"] for _, line in lines if line["key"] == "studio") == 53.75
    assert all(line["video_seconds"] == 4.84 * line["request_count"] for _, line in lines if line["key"] == "alice")

    page.locator("summary", has_text="By day and key").click()
    rows = page.locator("details table tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    counted: Counter[tuple[str, str]] = Counter()
    for day, line in lines:
        counted[day, line["key"]] += line["request_count"]
    assert {(day, key): int(count) for day, key, count, *_ in rows} == counted
    assert page.locator(".op-sums dd").first.inner_text() == str(sum(line["request_count"] for _, line in lines))
    # The bars, by their heights: the tallest day has the most requests, and a day's parts are its keys'.
    heights = page.locator(".op-bars g").evaluate_all(
        "days => days.map((day) => [day.dataset.day, [...day.querySelectorAll('[class^=series]')]"
        ".reduce((sum, part) => sum + part.height.baseVal.value, 0)])"
    )
    counts = {day: sum(line["request_count"] for each, line in lines if each == day) for day, _ in heights}
    tallest = max(counts.values())
    scale = dict(heights)[max(counts, key=counts.__getitem__)] / tallest
    assert 50 <= scale * tallest <= 100
    assert {day: pytest.approx(height, abs=0.01) for day, height in heights} == {
        day: count * scale for day, count in counts.items()
    }
    assert amiss(watched, f"operations-usage-{days}") == {}


def test_sums_are_those_of_the_command_line(visit, open_server, admin):
    page = open_section(visit(server=open_server), "usage", admin)
    page.locator(".segment", has_text="90 days").click()
    wait_until(page, "document.querySelectorAll('.op-bars g').length === 90")
    command = [sys.executable, "-m", "stillmotion", "usage", "--data", str(open_server.data)]
    printed = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=True, timeout=60)
    (total,) = [line for line in printed.stdout.splitlines() if "total" in line]
    requests, cost, gpu = re.findall(r"[\d.]+", total)
    requests_shown, _, gpu_shown, cost_shown = page.locator(".op-sums dd").all_inner_texts()
    assert requests_shown == requests
    assert float(cost_shown.lstrip("$")) == pytest.approx(float(cost), abs=0.005)
    minutes, seconds = re.fullmatch(r"(\d+) min (\d+) s", gpu_shown).groups()
    assert 60 * int(minutes) + int(seconds) == pytest.approx(float(gpu), abs=0.6)


def test_a_key_that_may_not_is_told_why(visit, open_server, client):
    key = client.post("/v1/keys", json={"alias": "visitor"}).json()["key"]
    watched = visit(server=open_server)
    watched.page.add_init_script(f"sessionStorage.setItem('stillmotion.key', {key!r})")
    page = watched.open("/operations")
    page.get_by_role("heading", name="This key may not see this page").wait_for()
    assert page.get_by_role("tab").count() == 0
    assert page.locator("dialog[open]").count() == 0
    assert page.get_by_role("link", name="Operations").count() == 0
    assert amiss(watched, "operations-refused") == {}
    # Nothing was asked that would be refused.
    assert [each.url for each in watched.requests if "/v1/" in each.url and "/v1/caller" not in each.url] == []


def test_without_a_key_one_is_asked_for(visit, open_server, admin):
    page = visit(server=open_server).open("/operations")
    page.wait_for_selector("dialog[open]")
    page.get_by_label("Key", exact=True).fill(admin)
    page.get_by_role("button", name="Use this key").click()
    page.get_by_role("heading", name="Engines").wait_for()
