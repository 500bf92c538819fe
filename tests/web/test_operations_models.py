"""Models on the operators' page: terms, a pull with its progress, a stop, going on, and away with it again."""

import pytest
from browser import wait_until
from operations_page import open_section
from views import amiss

from fake_hub import run_hub
from serving import serving
from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, GEMMA, LTX_2_3

NAME, WEIGHTS = "ltx-2.3-22b", "ltx-2.3-22b-dev.safetensors"
CONTENT = bytes(range(256)) * 94_000
LINE = f"[data-bundle='{NAME}']"


@pytest.fixture(scope="module")
def hub():
    with run_hub() as fake:
        for source in (found for bundle in BUNDLES.values() for _, found in bundle.sources()):
            repo = fake.repos.get(source.repository) or fake.add(source.repository, {"LICENSE": b"Be kind.\n" * 40})
            repo.revisions["main"][source.file] = source.file.encode() * 50
        fake.repos[LTX_2_3].revisions["main"][WEIGHTS] = CONTENT
        texts = {"config.json": b'{"model_type": "gemma3"}', "tokenizer_config.json": b"{}"}
        fake.add(GEMMA, {**texts, "model.safetensors": b"gemma" * 500})
        fake.add(CLASSIFIER.repository, {name: name.encode() for name in CLASSIFIER.files})
        yield fake


@pytest.fixture(scope="module")
def pulling_server(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulling")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf")}.items():
            environment.setenv(name, value)
        with serving(folder / "data", models=folder / "models", min_free_bytes=0) as server:
            yield server


def test_a_model_is_pulled_stopped_gone_on_with_and_removed(visit, hub, pulling_server):
    watched = visit(server=pulling_server)
    page = open_section(watched, "models")
    line = page.locator(LINE)
    line.get_by_role("button", name="Pull").click()
    dialog = page.locator("dialog[open].op-dialog")
    download = dialog.get_by_role("button", name="Download")
    download.wait_for()
    # Nothing is fetched before the terms are accepted.
    assert "Be kind." in dialog.inner_text()
    assert download.is_disabled()
    assert amiss(watched, "operations-models-terms") == {}
    dialog.get_by_role("checkbox").check()
    hub.stall[WEIGHTS] = 12_000_000
    download.click()
    dialog.wait_for(state="detached")
    wait_until(page, f"""document.querySelector("{LINE} progress")?.value > 30""")
    assert "of 24" in line.locator(".op-pulled").inner_text()
    assert f"Fetching {WEIGHTS}" in line.inner_text()
    assert "LTX-2 Community License Agreement" in line.inner_text()
    assert amiss(watched, "operations-models-pulling") == {}

    line.get_by_role("button", name="Stop").click()
    line.get_by_text("The pull was stopped").wait_for()
    assert line.get_attribute("data-state") == "incomplete"
    hub.stall.clear()
    line.get_by_role("button", name="Go on").click()
    download.wait_for()
    assert dialog.get_by_role("checkbox").count() == 0  # they were accepted
    download.click()
    line.get_by_text(f"--model all={NAME}").wait_for()
    assert line.get_attribute("data-state") == "complete"
    assert "accepted " in line.inner_text()
    folder = pulling_server.data.parent / "models" / NAME
    assert folder.is_dir()

    line.get_by_role("button", name="Remove").click()
    assert folder.is_dir()
    line.get_by_role("button", name="Remove from the disk").click()
    wait_until(page, f"""document.querySelector("{LINE}").dataset.state === 'absent'""")
    assert not folder.exists()


def test_a_hub_that_is_down_is_told_where_it_was_asked(visit, hub, pulling_server):
    watched = visit(server=pulling_server)
    watched.expected = ("503",)
    page = open_section(watched, "models")
    hub.status = 503
    try:
        page.locator("[data-bundle='ltx-2-19b']").get_by_role("button", name="Pull").click()
        page.locator("dialog[open] .notice").wait_for()
    finally:
        hub.status = None
    assert page.get_by_role("button", name="Download").count() == 0
    page.get_by_role("button", name="Close").click()
    page.locator("dialog[open]").wait_for(state="detached")


def test_the_disks_are_told(visit, pulling_server):
    page = open_section(visit(server=pulling_server), "models")
    page.locator("[data-kind=database]").wait_for()
    with pulling_server.client() as client:
        told = client.get("/v1/disk").json()
    assert [each["kind"] for each in told["kinds"]] == page.locator("[data-kind]").evaluate_all(
        "all => all.map((each) => each.dataset.kind)"
    )
    assert str(pulling_server.data) in page.locator(".op-disk").first.inner_text()
