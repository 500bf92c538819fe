"""``stillmotion models`` as a person uses it, against a hub on loopback."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_hub import FakeHub, run_hub
from serving import clean_environment
from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, GEMMA, LTX_2_3

SMALL = ("--without", "cameras,distilled", "--without", "spatial,temporal,safety")
WEIGHTS = "ltx-2.3-22b-dev.safetensors"
LICENCE = b"Everything is yours.\n"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with run_hub() as fake:
        for source in (found for bundle in BUNDLES.values() for _, found in bundle.sources()):
            repo = fake.repos.get(source.repository) or fake.add(source.repository, {"LICENSE": LICENCE})
            repo.revisions["main"][source.file] = source.file.encode() * 50
        texts = {"config.json": b'{"model_type": "gemma3"}', "tokenizer_config.json": b"{}"}
        fake.add(GEMMA, {**texts, "model.safetensors": b"gemma" * 500}, gated=True)
        fake.add(CLASSIFIER.repository, {name: name.encode() for name in CLASSIFIER.files})
        yield fake


class Terminal:
    """Runs commands with an environment of their own."""

    def __init__(self, hub: FakeHub, home: Path) -> None:
        self.models = home / "models"
        kept = {name: value for name, value in clean_environment().items() if not name.startswith(("HF_", "HUGGING"))}
        self.environment = {
            **kept,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home / "hf"),
            "HF_TOKEN": "hf_allowed",
            "STILLMOTION_MODELS": str(self.models),
            "STILLMOTION_MIN_FREE_BYTES": "0",
        }
        self.home = home

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "stillmotion", "models", *arguments],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(answers, timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert "Traceback" not in err, err
        assert "hf_allowed" not in out + err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def row(self, name: str) -> list[str]:
        lines = self.run("list").stdout.splitlines()
        rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
        return next(row for row in rows if row[0] == name)


@pytest.fixture
def terminal(hub: FakeHub, tmp_path: Path) -> Terminal:
    return Terminal(hub, tmp_path)


def test_pull_asks_for_licences_and_the_download_then_the_model_is_there(hub, terminal):
    assert "about 87.4 GB to download" in terminal.row("ltx-2.3-22b")[1]
    # The licence has a text that can be read; the second terms, Gemma's, and the classifier's have none.
    done = terminal.run("pull", "ltx-2.3-22b", answers="y\ny\ny\ny\ny\n")
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert out.index("To download:") < out.index("Do you accept these terms?") < out.index("Download ")
    for told in (
        *("ltx-2.3-22b, from Lightricks/LTX-2.3@", "cameras", "7 files", "Free in"),
        *("LTX-2 Community License Agreement", LICENCE.decode(), "https://ai.google.dev/gemma/terms", "Apache-2.0"),
        *("ltx-2.3-22b is complete in", "--model all=ltx-2.3-22b", "nsfw_image_detection is complete in"),
    ):
        assert told in out
    assert f"{WEIGHTS}: fetched" in done.stderr
    record = json.loads((terminal.models / "ltx-2.3-22b" / "files.json").read_text())
    assert {found["name"] for found in record["accepted"]} == {
        "LTX-2 Community License Agreement",
        "Gemma Terms of Use",
    }
    row = terminal.row("ltx-2.3-22b")
    assert row[1] == "complete"
    assert "LTX-2 Community License Agreement" in row[3]
    assert terminal.row("nsfw_image_detection")[1] == "complete"
    hub.cdn_seen.clear()
    again = terminal.run("pull", "ltx-2.3-22b")
    assert again.returncode == 0, "nothing is left to ask"
    assert "To download: 0.0 MB" in again.stdout
    assert hub.fetched("safetensors") == []


@pytest.mark.parametrize(
    ("options", "answers", "told"),
    [
        ((), "n\nn\n", "the licence was not accepted, nothing was done; --accept-licence accepts it"),
        (("--yes",), "", "the licence was not accepted"),
        (("--accept-licence",), "n\n", "nothing was downloaded; --yes answers this question"),
    ],
)
def test_without_a_yes_nothing_is_downloaded(hub, terminal, options, answers, told):
    done = terminal.run("pull", "ltx-2.3-22b", *SMALL, *options, answers=answers)
    assert done.returncode == 1
    assert told in done.stderr
    assert hub.fetched("safetensors") == []
    assert not (terminal.models / "ltx-2.3-22b").exists()


def stalled_pull(hub, terminal):
    """A pull of 24 MB that stands still after 12."""
    content = bytes(range(256)) * 94_000
    hub.repos[LTX_2_3].revisions["main"][WEIGHTS] = content
    hub.stall[WEIGHTS] = 12_000_000
    process = terminal.start("pull", "ltx-2.3-22b", *SMALL, "--yes", "--accept-licence")
    assert hub.stalled.wait(60)
    incoming = terminal.models / "ltx-2.3-22b" / ".incoming"
    end = time.monotonic() + 30
    while not any(part.stat().st_size >= 10 << 20 for part in incoming.glob("*.part")):
        assert time.monotonic() < end
        time.sleep(0.02)
    return process, content


def test_a_pull_that_was_killed_goes_on_where_it_was(hub, terminal):
    process, content = stalled_pull(hub, terminal)
    process.kill()
    process.communicate(timeout=20)
    folder = terminal.models / "ltx-2.3-22b"
    assert not (folder / "stillmotion.json").exists()
    assert terminal.row("ltx-2.3-22b")[1] == "incomplete, 13.6 MB missing"
    hub.stall.clear()
    hub.cdn_seen.clear()
    done = terminal.run("pull", "ltx-2.3-22b", *SMALL, "--yes")
    assert done.returncode == 0, "the licence was accepted already"
    assert "To download: 13.6 MB" in done.stdout
    assert [seen.range for seen in hub.fetched("safetensors")] == ["bytes=10485760-"]
    assert (folder / WEIGHTS).read_bytes() == content
    assert terminal.row("ltx-2.3-22b")[1] == "complete"


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(hub, terminal):
    process, _ = stalled_pull(hub, terminal)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)  # the connection would stall for longer
    assert process.returncode == 130
    assert "Stopped. What is here is kept: run the same command to go on." in err


@pytest.mark.parametrize(
    ("token", "told"),
    [(None, "then set HF_TOKEN to a token of that account"), ("hf_x", "the account of your token has no access")],
)
def test_a_gated_repository_is_explained_before_anything_is_fetched(hub, terminal, token, told):
    terminal.environment.pop("HF_TOKEN")
    if token:
        terminal.environment["HF_TOKEN"] = token
    done = terminal.run("pull", "ltx-2.3-22b", *SMALL, "--yes", "--accept-licence")
    assert done.returncode == 1
    assert f"{GEMMA} is gated" in done.stderr
    assert f"{hub.url}/{GEMMA}" in done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert hub.fetched("safetensors") == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(hub, terminal):
    hub.repos[LTX_2_3].claimed[WEIGHTS] = 10**18
    done = terminal.run("pull", "ltx-2.3-22b", *SMALL, "--yes", "--accept-licence")
    assert done.returncode == 1
    assert "1000000000.0 GB are to be fetched" in done.stderr
    assert "leave parts out with --without" in done.stderr
    assert hub.fetched("safetensors") == []
    assert not terminal.models.joinpath("ltx-2.3-22b").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("pull", "ltx-9"), "no bundle is known as 'ltx-9'; known are ltx-2-19b, "),
        (("pull", "ltx-2-19b", "--revision", "v9"), "Lightricks/LTX-2 has no revision 'v9'"),
        (("pull", "ltx-2-19b", "--without", "sound"), "--without takes spatial, temporal"),
        (("pull", "ltx-2-19b", "--name", "x"), "--name is for repositories"),
        (("pull", "a/b", "--name", "../x"), "cannot be a name"),
        (("verify", "ltx-2-19b"), "there is no 'ltx-2-19b'"),
        (("rm", "../models"), "cannot be a name"),
    ],
)
def test_mistakes_are_one_sentence(terminal, arguments, told):
    done = terminal.run(*arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_network(terminal):
    terminal.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    done = terminal.run("pull", "ltx-2-19b")
    assert done.returncode == 1
    assert "http://127.0.0.1:9 cannot be reached: check the network" in done.stderr
    terminal.environment["HF_HUB_OFFLINE"] = "1"
    assert "HF_HUB_OFFLINE is set" in terminal.run("pull", "ltx-2-19b").stderr


def test_usage_errors_are_2(terminal):
    assert terminal.run("pull").returncode == 2
    assert terminal.run("pull", "ltx-2-19b", "--nonsense").returncode == 2


def test_removal_asks_and_spares_what_is_configured(hub, terminal):
    assert terminal.run("pull", CLASSIFIER.repository, "--yes", "--accept-licence").returncode == 0
    folder = terminal.models / CLASSIFIER.name
    refused = terminal.run("rm", CLASSIFIER.name, answers="n\n")
    assert refused.returncode == 1
    assert "nothing was removed" in refused.stderr
    terminal.environment["STILLMOTION_MODEL"] = f"all={CLASSIFIER.name}"
    assert terminal.row(CLASSIFIER.name)[-1] == "all"
    spared = terminal.run("rm", CLASSIFIER.name, answers="y\n")
    assert spared.returncode == 1
    assert f"{CLASSIFIER.name} is configured for all; --yes removes it all the same" in spared.stderr
    assert (folder / "config.json").exists()
    assert terminal.run("rm", CLASSIFIER.name, "--yes").returncode == 0
    assert not folder.exists()
    assert "not here: stillmotion models pull" in terminal.row(CLASSIFIER.name)[1]


def test_what_comes_with_the_package_is_listed_and_serves_where_nothing_is_configured(terminal):
    _, state, size, licence, accepted, used = terminal.row("nano")
    assert (state, licence, accepted) == ("comes with Stillmotion", "Apache-2.0", "")
    assert size.endswith(" MB")
    assert used == "all (default)"
    terminal.environment["STILLMOTION_MODEL"] = f"all={CLASSIFIER.name}"
    assert terminal.row("nano")[-1] == ""


@pytest.fixture
def published(hub, tiny_models):
    """A repository with a bundle that the engine can use."""
    folder = tiny_models / "tiny-ltx-2"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.add("someone/tiny", files)
    return "someone/tiny"


def test_a_pulled_repository_is_verified_down_to_what_the_engine_needs(terminal, published):
    pulled = terminal.run("pull", published, "--name", "tiny", "--yes", "--accept-licence")
    assert pulled.returncode == 0, pulled.stderr
    sound = terminal.run("verify", "tiny")
    assert sound.returncode == 0, sound.stdout
    assert "every file is there" in sound.stdout
    weights = next((terminal.models / "tiny" / "vae").glob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    broken = terminal.run("verify", "tiny")
    assert broken.returncode == 1
    assert f"BAD vae/{weights.name}: has another checksum" in broken.stdout
    assert "Mend it with: stillmotion models pull someone/tiny --name tiny" in broken.stdout
    assert terminal.run("pull", published, "--name", "tiny", "--yes").returncode == 0
    assert weights.read_bytes() == content


def test_files_of_this_machine_become_a_model(terminal, tiny_models):
    text = tiny_models / "tiny-ltx-2" / "text_encoder"
    both = terminal.home / "gemma"
    both.mkdir()
    for path in (*text.iterdir(), *(tiny_models / "tiny-ltx-2" / "tokenizer").iterdir()):
        both.joinpath(path.name).symlink_to(path)
    (terminal.home / "tuned.safetensors").write_bytes(b"no weights")
    options = ("--checkpoint", "tuned.safetensors", "--text-encoder", "gemma", "--accept-licence")
    unknown = terminal.run("add", "mine", *options)
    assert "no bundle is known as 'mine'" in unknown.stderr
    done = terminal.run("add", "mine", "--like", "ltx-2.3-22b", *options)
    assert done.returncode == 0, done.stderr
    assert f"linked to {terminal.home / 'tuned.safetensors'}" in done.stderr
    assert terminal.row("mine")[1] == "complete"
    # Every byte is as it was recorded, and it is no checkpoint all the same.
    judged = terminal.run("verify", "mine")
    assert judged.returncode == 1
    assert "tuned.safetensors" in judged.stdout.splitlines()[-2]
    assert "the engine cannot use them" in judged.stdout
    assert terminal.run("rm", "mine", "--yes").returncode == 0
    assert (terminal.home / "tuned.safetensors").exists()
