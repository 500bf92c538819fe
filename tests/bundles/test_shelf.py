"""What lies in the models folder: told, verified, and removed without reaching out of it."""

import pytest

from stillmotion.bundles.catalogue import BUNDLES
from stillmotion.bundles.local import LocalFiles, add
from stillmotion.bundles.record import MANIFEST, read_record
from stillmotion.bundles.shelf import Shelf
from stillmotion.engine.manifest import load_manifest
from stillmotion.errors import BundleError, ConfigurationError


@pytest.fixture
def pulled(puller):
    puller.bring(puller.plan("ltx-2-19b"))
    return puller


def faults(shelf, name="ltx-2-19b"):
    return {path: fault for path, fault in shelf.verify(name) if fault}


def test_every_kind_of_damage_is_found_and_mended_by_the_next_pull(fake, pulled):
    folder = pulled.shelf.folder("ltx-2-19b")
    flipped, short, gone = "ltx-2-19b-dev.safetensors", "tokenizer/tokenizer.json", "text_encoder/config.json"
    content = bytearray((folder / flipped).read_bytes())
    content[1000] ^= 1
    (folder / flipped).write_bytes(content)
    (folder / short).write_bytes(b"short")
    (folder / gone).unlink()
    found = faults(pulled.shelf)
    assert "another checksum" in found.pop(flipped)
    assert found.pop(short) == "has 5 bytes instead of 4,000"
    assert found.pop(gone) == "missing"
    assert found == {}
    assert pulled.shelf.look_at("ltx-2-19b").state == "incomplete"
    fake.cdn_seen.clear()
    assert set(pulled.bring(pulled.plan("ltx-2-19b")).how) == {flipped, short, gone}
    assert faults(pulled.shelf) == {}


def test_a_link_whose_target_is_gone(pulled, tmp_path):
    folder = pulled.shelf.folder("ltx-2-19b")
    path = folder / "ltx-2-19b-dev.safetensors"
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert faults(pulled.shelf) == {path.name: "the file that it links to is gone"}


def test_removing_follows_no_link_out_of_the_folder(pulled, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    folder = pulled.shelf.folder("ltx-2-19b")
    (folder / "linked_folder").symlink_to(outside)
    (folder / "linked_file").symlink_to(outside / "precious")
    pulled.shelf.remove("ltx-2-19b")
    assert not folder.exists()
    assert (outside / "precious").read_text() == "x"


def test_a_bundle_that_is_itself_a_link(pulled, tmp_path):
    other = Shelf(tmp_path / "other")
    other.models.mkdir()
    (other.models / "mine").symlink_to(pulled.shelf.folder("ltx-2-19b"))
    other.remove("mine")
    assert other.names() == []
    assert load_manifest(pulled.shelf.folder("ltx-2-19b"))


@pytest.mark.parametrize("name", ["..", "../models", "a/b", "/etc", ".hidden", "", "-x", "a\0b"])
def test_what_is_no_name_is_refused(shelf, name):
    with pytest.raises(ConfigurationError, match="cannot be a name"):
        shelf.remove(name)


def test_only_models_are_removed(shelf):
    (shelf.models / "documents").mkdir(parents=True)
    with pytest.raises(BundleError, match="there is no 'documents'"):
        shelf.remove("documents")


def test_two_processes_do_not_work_at_one_bundle(shelf):
    with shelf.locked("ltx-2-19b"), pytest.raises(BundleError, match="another process"), shelf.locked("ltx-2-19b"):
        pass


def test_a_folder_without_a_record_is_listed_and_cannot_be_verified(pulled):
    folder = pulled.shelf.folder("ltx-2-19b")
    (folder / "files.json").unlink()
    found = pulled.shelf.look_at("ltx-2-19b")
    assert (found.state, found.licence) == ("whole", "LTX-2 Community License Agreement")
    with pytest.raises(BundleError, match="no record"):
        faults(pulled.shelf)


def test_a_broken_record_is_told(pulled):
    (pulled.shelf.folder("ltx-2-19b") / "files.json").write_text('{"kind": "other"}')
    with pytest.raises(BundleError, match=r"files\.json cannot be read"):
        pulled.shelf.look_at("ltx-2-19b")


class Quiet:
    def begin(self, name, size): ...
    def advance(self, name, count): ...
    def checking(self, name): ...
    def finish(self, name, how): ...


@pytest.fixture
def local_files(tmp_path):
    folder = tmp_path / "mine"
    gemma = folder / "gemma"
    gemma.mkdir(parents=True)
    (gemma / "config.json").write_text('{"model_type": "gemma3"}')
    (gemma / "model.safetensors").write_bytes(b"weights")
    (gemma / "tokenizer_config.json").write_text("{}")
    (gemma / "README.md").write_text("#")
    for name in ("tuned.safetensors", "up.safetensors", "distilled.safetensors", "in.safetensors"):
        (folder / name).write_bytes(name.encode())
    return LocalFiles(
        checkpoint=folder / "tuned.safetensors",
        text_encoder=gemma,
        upsamplers={"spatial_x2": folder / "up.safetensors"},
        loras={"distilled": folder / "distilled.safetensors", "dolly_in": folder / "in.safetensors"},
    )


def put(shelf, files, name="my-tune", like="ltx-2.3-22b"):
    add(name, BUNDLES[like], files, shelf, Quiet(), accepted_by="me", now="2026-01-01T00:00:00+00:00")


def test_a_bundle_of_files_that_are_here_copies_none(shelf, local_files):
    put(shelf, local_files)
    folder = shelf.folder("my-tune")
    manifest = load_manifest(folder)
    assert (manifest.name, manifest.family, manifest.stg_block) == ("my-tune", "ltx-2.3", 28)
    assert manifest.checkpoint == "tuned.safetensors"
    assert (folder / "tuned.safetensors").readlink() == local_files.checkpoint
    assert manifest.upsamplers == {"spatial_x2": "up.safetensors"}
    assert manifest.loras == {"distilled": "distilled.safetensors", "dolly_in": "in.safetensors"}
    assert not (folder / "text_encoder" / "README.md").exists()
    assert faults(shelf, "my-tune") == {}
    assert [found.by for found in read_record(folder).accepted] == ["me"]
    local_files.checkpoint.write_bytes(b"other")
    assert "has 5 bytes" in faults(shelf, "my-tune")["tuned.safetensors"]
    shelf.remove("my-tune")
    assert local_files.checkpoint.exists()


def test_a_known_name_is_for_the_published_files(shelf, local_files):
    with pytest.raises(BundleError, match=r"tuned.safetensors has 17 bytes, .* add --like ltx-2.3-22b"):
        put(shelf, local_files, name="ltx-2.3-22b")
    assert shelf.names() == []


def test_a_text_encoder_of_another_kind(shelf, local_files):
    (local_files.text_encoder / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(BundleError, match=r"is not a Gemma 3 model: its config.json says 't5'"):
        put(shelf, local_files)
    (local_files.text_encoder / "tokenizer_config.json").unlink()
    with pytest.raises(BundleError, match=r"has no tokenizer_config.json, which tokenizer needs"):
        put(shelf, local_files)


def test_a_name_that_is_taken(shelf, local_files):
    put(shelf, local_files)
    with pytest.raises(BundleError, match="is there already"):
        put(shelf, local_files)
    assert (shelf.folder("my-tune") / MANIFEST).exists()
