"""A fake hub with everything that the known bundles are made of, small."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fake_hub import FakeHub, run_hub
from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, GEMMA
from stillmotion.bundles.plan import Plan, Planner
from stillmotion.bundles.pull import begin, complete
from stillmotion.bundles.shelf import Shelf
from stillmotion.hub import Hub

TOKEN = "hf_allowed"
LICENCE = b"LTX-2 Community License Agreement\nYou may ...\n"


def noise(name: str, size: int = 4000) -> bytes:
    """Bytes that are the same for the same name, and compress badly."""
    return random.Random(name).randbytes(size)


def publish(hub: FakeHub) -> None:
    for bundle in BUNDLES.values():
        for _, source in bundle.sources():
            repo = hub.repos.get(source.repository) or hub.add(source.repository, {"LICENSE": LICENCE})
            # The first two are of one size, as four of the real camera LoRAs are.
            repo.revisions["main"][source.file] = noise(source.file, 4000 + len(source.file) // 40)
            repo.plain = frozenset({"LICENSE"})
    texts = {
        "config.json": json.dumps({"model_type": "gemma3"}).encode(),
        "tokenizer_config.json": b"{}",
        "tokenizer.json": noise("tokenizer.json"),
        "model.safetensors.index.json": b'{"weight_map": {}}',
        "README.md": b"# Gemma",
    }
    shards = {f"model-0000{n}-of-00002.safetensors": noise(f"gemma {n}") for n in (1, 2)}
    hub.add(GEMMA, {**texts, **shards}, gated=True, plain=frozenset(texts))
    files = {name: noise(name) for name in (*CLASSIFIER.files, "pytorch_model.bin")}
    hub.add(CLASSIFIER.repository, files)


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with run_hub() as hub:
        publish(hub)
        yield hub


@pytest.fixture
def hub(fake: FakeHub) -> Hub:
    return Hub(url=fake.url, token=TOKEN)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


@dataclass
class Watch:
    """What a download reported."""

    bytes: dict[str, int] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    def begin(self, name: str, size: int) -> None:
        self.bytes[name] = 0

    def advance(self, name: str, count: int) -> None:
        self.bytes[name] += count

    def checking(self, name: str) -> None:
        pass

    def finish(self, name: str, how: str) -> None:
        self.how[name] = how


@dataclass
class Puller:
    """Pulls as the command does, without its questions."""

    hub: Hub
    shelf: Shelf

    def plan(self, name: str, **options: object) -> Plan:
        return Planner(self.hub).known(BUNDLES[name], **options)  # type: ignore[arg-type]

    def bring(self, plan: Plan, *folders: Path) -> Watch:
        watch = Watch()
        begin(plan, self.shelf, accepted_by="tester", now="2026-01-01T00:00:00+00:00")
        complete(plan, self.shelf, self.hub, watch, folders)
        return watch


@pytest.fixture
def puller(hub: Hub, shelf: Shelf) -> Puller:
    return Puller(hub, shelf)
