"""What the text of a LoRA's path names, and that no text names anything outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.errors import FileDownloadError
from stillmotion.files.lora_paths import HubPath, LocalPath, UrlPath, parse_lora_path


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("https://civitai.com/api/download/1?type=Model", UrlPath("https://civitai.com/api/download/1?type=Model")),
        ("HTTP://HOST/x", UrlPath("HTTP://HOST/x")),
        ("owner/repo", HubPath(name="owner/repo", revision=None, file=None)),
        ("owner/repo.v2", HubPath(name="owner/repo.v2", revision=None, file=None)),
        ("owner/repo/a.safetensors", HubPath(name="owner/repo", revision=None, file="a.safetensors")),
        ("owner/repo/b/c/a.safetensors", HubPath(name="owner/repo", revision=None, file="b/c/a.safetensors")),
        ("owner/repo@v1.0", HubPath(name="owner/repo", revision="v1.0", file=None)),
        ("owner/repo@v1/b/a.safetensors", HubPath(name="owner/repo", revision="v1", file="b/a.safetensors")),
        ("local:a.safetensors", LocalPath("a.safetensors")),
        ("local:b/a.safetensors", LocalPath("b/a.safetensors")),
    ],
)
def test_what_a_path_names(text, named):
    assert parse_lora_path(text) == named


@pytest.mark.parametrize(
    "text",
    [
        *("", "repo", "/owner/repo", "owner/", "owner/repo/", "owner/repo/file.ckpt", "owner/repo/folder"),
        *("owner/repo@", "owner/repo@a/b", "owner/repo@@a", "../x", "owner/..", "owner/repo/../../x.safetensors"),
        *("local:", "local:../a.safetensors", "local:/etc/a.safetensors", "local:a.txt", "local:a/../b.safetensors"),
        *("file:///etc/passwd", "ftp://host/a.safetensors", "data:,x", "owner/re po", "owner/repo\n", "ow?ner/repo"),
        *("owner/repo#x", "owner\\repo", "/etc/passwd", ".hidden/repo", "local:.hidden.safetensors", "о/repo"),
    ],
)
def test_what_names_nothing(text):
    with pytest.raises(FileDownloadError, match="a LoRA path is"):
        parse_lora_path(text)


@given(st.text(max_size=60))
def test_a_path_of_the_hub_stays_in_the_hub_and_a_local_one_in_its_folder(text):
    try:
        named = parse_lora_path(text)
    except FileDownloadError:
        return
    if not isinstance(named, UrlPath):
        pieces = text.removeprefix("local:").replace("@", "/").split("/")
        assert all(piece and not piece.startswith(".") and ".." not in piece for piece in pieces)
        assert not set(text) & set("?#%\\: \n") - {":"}
