"""Pulling known bundles and repositories: complete, checked, resumed, shared, and never half taken for whole."""

import json
import threading
from dataclasses import replace

import pytest

from fake_hub import sha256
from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, GEMMA, LTX_2, LTX_2_3
from stillmotion.bundles.plan import Planner
from stillmotion.bundles.pull import begin, check_space, complete, need, unaccepted
from stillmotion.bundles.record import INCOMING, MANIFEST, read_record
from stillmotion.engine.manifest import load_manifest
from stillmotion.errors import BundleError, FileDownloadError, Unavailable
from stillmotion.hub import Hub


@pytest.mark.parametrize("name", BUNDLES)
def test_every_known_bundle_is_one_that_the_engine_reads(fake, puller, name):
    plan = puller.plan(name)
    watch = puller.bring(plan)
    known, folder = BUNDLES[name], puller.shelf.folder(name)
    manifest = load_manifest(folder)
    assert (manifest.family, manifest.stg_block, manifest.distilled) == (known.family, known.stg_block, known.distilled)
    assert manifest.checkpoint == known.checkpoint.file
    assert set(manifest.loras) == set(known.loras)
    assert set(manifest.upsamplers) == {"spatial_x2", "temporal_x2"}
    assert (folder / manifest.licence.file).read_text().startswith("LTX-2 Community")
    assert {path.name for path in (folder / "text_encoder").iterdir()} == {
        *("config.json", "model.safetensors.index.json"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    }
    for item in plan.items:
        published = fake.repos[item.file.repository].revisions["main"][item.file.path]
        assert (folder / item.target).read_bytes() == published
        assert watch.bytes[item.target] == len(published)
    assert not (folder / INCOMING).exists()
    assert [fault for _, fault in puller.shelf.verify(name) if fault] == []


def test_what_is_left_out_is_not_in_the_manifest(fake, puller):
    puller.bring(puller.plan("ltx-2.3-22b", without=("cameras", "temporal")))
    manifest = load_manifest(puller.shelf.folder("ltx-2.3-22b"))
    assert set(manifest.loras) == {"distilled"}
    assert set(manifest.upsamplers) == {"spatial_x2"}
    assert fake.fetched("camera") == fake.fetched("temporal") == []


def test_a_second_pull_fetches_nothing(fake, puller):
    plan = puller.plan("ltx-2-19b")
    puller.bring(plan)
    fake.cdn_seen.clear()
    assert need(plan, puller.shelf).items == ()
    assert puller.bring(plan).bytes == {}
    assert fake.fetched() == []


def test_bundles_share_what_they_have_in_common(fake, puller):
    puller.bring(puller.plan("ltx-2-19b"))
    fake.cdn_seen.clear()
    plan = puller.plan("ltx-2.3-22b")
    watch = puller.bring(plan)
    assert watch.how["text_encoder/model-00001-of-00002.safetensors"] == "shared with ltx-2-19b"
    assert fake.fetched("camera") == fake.fetched("gemma-3-12b-it-qat-q4_0-unquantized/model-0") == []
    assert [seen.path for seen in fake.fetched("22b-dev")] != []
    puller.shelf.remove("ltx-2-19b")
    assert [fault for _, fault in puller.shelf.verify("ltx-2.3-22b") if fault] == []


def test_files_that_are_here_are_linked_to(fake, puller, tmp_path):
    """Found by their size and checksum, wherever they lie below the folder and whatever they are called."""
    elsewhere = tmp_path / "ComfyUI" / "models"
    (elsewhere / "checkpoints").mkdir(parents=True)
    files = fake.repos[LTX_2].revisions["main"]
    renamed = elsewhere / "checkpoints" / "my ltx.safetensors"
    renamed.write_bytes(files["ltx-2-19b-dev.safetensors"])
    damaged = elsewhere / "ltx-2-spatial-upscaler-x2-1.0.safetensors"
    damaged.write_bytes(bytes(len(files[damaged.name])))
    plan = puller.plan("ltx-2-19b")
    watch = puller.bring(plan, tmp_path / "ComfyUI")
    assert watch.how["ltx-2-19b-dev.safetensors"] == f"linked to {renamed}"
    assert watch.how[damaged.name] == "fetched"
    assert fake.fetched("19b-dev") == []
    folder = puller.shelf.folder("ltx-2-19b")
    assert (folder / "ltx-2-19b-dev.safetensors").readlink() == renamed
    puller.shelf.remove("ltx-2-19b")
    assert renamed.exists()


def test_a_wrong_checksum_is_no_file(fake, puller):
    fake.corrupt.add("ltx-2-19b-dev.safetensors")
    plan = puller.plan("ltx-2-19b")
    with pytest.raises(BundleError, match=r"ltx-2-19b-dev.safetensors does not have the checksum .* pull again"):
        puller.bring(plan)
    folder = puller.shelf.folder("ltx-2-19b")
    assert not (folder / "ltx-2-19b-dev.safetensors").exists()
    assert not (folder / MANIFEST).exists()
    assert puller.shelf.look_at("ltx-2-19b").state == "incomplete"
    fake.corrupt.clear()
    puller.bring(plan)
    assert puller.shelf.look_at("ltx-2-19b").state == "whole"


def test_small_files_are_checked_by_gits_own_name(fake, puller):
    fake.corrupt.add("tokenizer.json")
    with pytest.raises(BundleError, match=r"tokenizer.json does not have the checksum"):
        puller.bring(puller.plan("ltx-2-19b"))


def test_a_lost_connection_costs_no_more_than_the_last_bytes(fake, puller):
    content = bytes(range(256)) * 60_000
    fake.repos[LTX_2].revisions["main"]["ltx-2-19b-dev.safetensors"] = content
    fake.cut["ltx-2-19b-dev.safetensors"] = 12_000_000
    puller.bring(puller.plan("ltx-2-19b"))
    assert [seen.range for seen in fake.fetched("19b-dev")] == [None, "bytes=10485760-"]


def test_a_new_revision_replaces_what_changed_and_only_that(fake, puller):
    puller.bring(puller.plan("ltx-2-19b"))
    repo = fake.repos[LTX_2]
    repo.revisions["v2"] = {**repo.revisions["main"], "ltx-2-19b-dev.safetensors": b"newer weights"}
    fake.cdn_seen.clear()
    plan = puller.plan("ltx-2-19b", revision="v2")
    begin(plan, puller.shelf, accepted_by="tester", now="now")
    folder = puller.shelf.folder("ltx-2-19b")
    assert not (folder / MANIFEST).exists(), "half of each is no bundle"
    puller.bring(plan)
    assert (folder / "ltx-2-19b-dev.safetensors").read_bytes() == b"newer weights"
    assert load_manifest(folder).name == "ltx-2-19b"
    assert [seen.path for seen in fake.fetched("safetensors")] == [
        f"/{LTX_2}/{repo.commit('v2')}/ltx-2-19b-dev.safetensors"
    ]
    assert read_record(folder).source == f"{LTX_2}@{repo.commit('v2')}"


def test_a_part_of_another_revision_is_not_continued(fake, puller):
    plan = puller.plan("ltx-2-19b")
    begin(plan, puller.shelf, accepted_by="tester", now="now")
    incoming = puller.shelf.folder("ltx-2-19b") / INCOMING
    incoming.mkdir()
    (incoming / f"ltx-2-19b-dev.safetensors.{'0' * 64}.part").write_bytes(b"old" * 100)
    puller.bring(plan)
    assert fake.fetched("19b-dev")[0].range is None


def test_what_is_missing_is_counted(fake, puller):
    plan = puller.plan("ltx-2-19b")
    assert need(plan, puller.shelf).to_fetch == plan.size
    begin(plan, puller.shelf, accepted_by="tester", now="now")
    item = plan.items[0]
    incoming = puller.shelf.folder("ltx-2-19b") / INCOMING
    incoming.mkdir()
    (incoming / f"{item.target}.{item.file.content}.part").write_bytes(b"x" * 1000)
    assert need(plan, puller.shelf).to_fetch == plan.size - 1000
    found = puller.shelf.look_at("ltx-2-19b")
    assert (found.state, found.missing) == ("incomplete", plan.size - 1000)


def test_too_small_a_disk_is_told_in_numbers(tmp_path):
    assert check_space(tmp_path / "not" / "yet", 5_000, reserve=0, free=lambda folder: 5_000) == 5_000
    with pytest.raises(BundleError) as error:
        check_space(tmp_path, 90_000_000_000, reserve=500_000_000, free=lambda folder: 90_100_000_000)
    assert "90.0 GB are to be fetched" in error.value.message
    assert "90.1 GB are free, of which 0.5 GB stay reserved" in error.value.message
    assert check_space(tmp_path, 0, reserve=500_000_000, free=lambda folder: 0) == 0, "nothing is to be fetched"


def test_a_disk_that_fills_up_is_told_and_what_is_there_is_kept(fake, puller):
    plan = puller.plan("ltx-2-19b")
    begin(plan, puller.shelf, accepted_by="tester", now="now")
    folder = puller.shelf.folder("ltx-2-19b")
    item = plan.items[0]
    (folder / INCOMING).mkdir()
    # Every write to this device fails as one to a full disk.
    part = folder / INCOMING / f"{item.target}.{item.file.content}.part"
    part.symlink_to("/dev/full")
    with pytest.raises(BundleError, match=f"the disk is full at {item.target}: make room and run the same"):
        puller.bring(plan)
    part.unlink()
    puller.bring(plan)
    assert load_manifest(folder)


def test_gated_parts_are_asked_for_before_anything_is_fetched(fake, shelf):
    planner = Planner(Hub(url=fake.url, token="hf_other"))
    plan = planner.known(BUNDLES["ltx-2.3-22b"])
    fake.cdn_seen.clear()
    with pytest.raises(FileDownloadError, match=f"{GEMMA} is gated"):
        planner.check_access(plan)
    assert fake.fetched() == []


def test_terms_are_accepted_once_and_again_when_they_change(fake, hub, puller):
    plan = puller.plan("ltx-2-19b")
    assert [terms.terms.name for terms in unaccepted(plan, puller.shelf)] == [
        "LTX-2 Community License Agreement",
        "Gemma Terms of Use",
    ]
    puller.bring(plan)
    accepted = read_record(puller.shelf.folder("ltx-2-19b")).accepted
    text = fake.repos[LTX_2].revisions["main"]["LICENSE"]
    assert [(found.by, found.at[:10], found.sha256) for found in accepted] == [
        ("tester", "2026-01-01", sha256(text)),
        ("tester", "2026-01-01", None),
    ]
    assert unaccepted(plan, puller.shelf) == []
    fake.repos[LTX_2].revisions["main"]["LICENSE"] = b"stricter"
    again = unaccepted(puller.plan("ltx-2-19b"), puller.shelf)
    assert [terms.text for terms in again] == ["stricter"]


def test_a_file_that_was_replaced_on_the_hub_is_noted(puller):
    """The files of the tests are not the published ones."""
    assert any("ltx-2-19b-dev.safetensors is not the one" in note for note in puller.plan("ltx-2-19b").notes)


def test_a_published_file_that_is_gone(fake, puller):
    del fake.repos[LTX_2_3].revisions["main"]["ltx-2.3-22b-dev.safetensors"]
    with pytest.raises(BundleError, match=r"has no ltx-2.3-22b-dev.safetensors"):
        puller.plan("ltx-2.3-22b")


def test_the_classifier_is_usable_last_and_brings_no_pickle(fake, hub, puller):
    plan = Planner(hub).classifier(CLASSIFIER)
    fake.stall["model.safetensors"] = 10
    begin(plan, puller.shelf, accepted_by="tester", now="now")
    work = threading.Thread(target=puller.bring, args=(plan,), daemon=True)
    work.start()
    assert fake.stalled.wait(10)
    folder = puller.shelf.folder(CLASSIFIER.name)
    assert not (folder / "config.json").exists()
    fake.stall.clear()
    fake.closing.set()
    work.join(20)
    assert {path.name for path in folder.iterdir()} == {*CLASSIFIER.files, "files.json"}
    assert puller.shelf.look_at(CLASSIFIER.name).kind == "classifier"


def repository_files(manifest):
    return {
        "stillmotion.json": json.dumps(manifest).encode(),
        "transformer/config.json": b"{}",
        "transformer/model.safetensors": b"weights",
        "transformer/code.py": b"print()",
        "model.bin": b"pickle",
        ".gitattributes": b"*",
        "README.md": b"# hello",
    }


def test_any_repository_laid_out_as_a_bundle(fake, hub, puller):
    fake.add("some/model", repository_files({"format": 1, "name": "model", "licence": {"name": "X"}}))
    plan = Planner(hub).repository("some/model", name="mine")
    assert plan.notes == ("left there, being neither weights nor text: model.bin, transformer/code.py",)
    assert [terms.terms.url for terms in plan.terms] == ["https://huggingface.co/some/model"]
    puller.bring(plan)
    folder = puller.shelf.folder("mine")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        *("README.md", "files.json", "stillmotion.json"),
        *("transformer/config.json", "transformer/model.safetensors"),
    }
    assert puller.shelf.look_at("mine").state == "whole"


@pytest.mark.parametrize("manifest", [{"format": 2}, [], {"name": "x"}])
def test_a_repository_with_another_manifest(fake, hub, manifest):
    fake.add("some/model", repository_files(manifest))
    with pytest.raises(BundleError, match="not a manifest of format 1"):
        Planner(hub).repository("some/model", name="mine")


def test_a_repository_without_a_manifest_names_what_is_known(fake, hub):
    with pytest.raises(BundleError, match=r"has no stillmotion.json. Known by name: ltx-2-19b, "):
        Planner(hub).repository(GEMMA, name="gemma")


def test_a_folder_of_another_is_left_alone(fake, hub, puller):
    fake.add("some/model", repository_files({"format": 1}))
    fake.add("other/model", repository_files({"format": 1}))
    puller.bring(Planner(hub).repository("some/model", name="model"))
    with pytest.raises(BundleError, match="holds some/model"):
        puller.bring(Planner(hub).repository("other/model", name="model"))
    mine = puller.shelf.folder("ltx-2-19b")
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="was not made by"):
        puller.bring(puller.plan("ltx-2-19b"))
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_hub_that_goes_away_is_given_up(fake, puller):
    plan = puller.plan("ltx-2-19b")
    fake.status = 500
    unreachable = replace(plan, items=plan.items[:1], last=MANIFEST)
    begin(unreachable, puller.shelf, accepted_by="tester", now="now")
    with pytest.raises(Unavailable, match="answered 500"):
        complete(unreachable, puller.shelf, puller.hub, _Silent())


class _Silent:
    def begin(self, name, size): ...
    def advance(self, name, count): ...
    def checking(self, name): ...
    def finish(self, name, how): ...
