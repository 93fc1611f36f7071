"""Paths and URLs, and writing files: completely or not at all."""

import hashlib
import os
from pathlib import Path

import pytest

from hepgan.errors import NotFoundError
from hepgan.files import contents, digest, expand, is_url, location, write_text


@pytest.mark.parametrize(
    "url",
    [
        "http://host:8080/a/b.root",
        "https://user@host/a.root?key=1",
        "root://host:1094//store/a.root",
        "s3://bucket/a.root",
    ],
)
def test_a_url_keeps_its_slashes(url):
    assert location(url) == location(Path(url)) == url
    assert is_url(url)
    assert is_url(Path(url))
    assert expand([url]) == expand([Path(url)]) == [url]
    assert digest([Path(url)]) == digest([url])


def test_paths_are_no_urls(tmp_path):
    path = tmp_path / "a b:c.root"
    path.write_bytes(b"x")
    for text in (str(path), path, path.as_uri(), Path(path.as_uri())):
        assert location(text) == str(path)
        assert not is_url(text)
        assert expand([text]) == [str(path)]
        assert digest([text]) == digest([path])
    assert location("C:/data/a.root") == "C:/data/a.root"
    assert location("a.root:tree") == "a.root:tree"


def test_write_text_is_all_or_nothing(tmp_path):
    path = tmp_path / "new" / "page.html"
    write_text(path, "first µ")
    assert path.read_text(encoding="utf-8") == "first µ"
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "broken \ud800")
    assert path.read_text(encoding="utf-8") == "first µ"
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_what_is_no_file_is_named(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.root")
    (tmp_path / "link.root").symlink_to("nowhere.root")
    (tmp_path / "a.root").write_bytes(b"root")
    for name, message in {
        "pipe.root": "got a device or pipe",
        "link.root": "got a link to nowhere.root, where none is",
        "a.root:tracks": r"write the tree as data\.tree",
        "b*.root": "at least one match",
    }.items():
        with pytest.raises(NotFoundError, match=message):
            expand([name], base=tmp_path)


def test_a_tree_behind_a_file_is_no_url() -> None:
    assert location("a.root:/d/tracks") == "a.root:/d/tracks"
    assert not is_url("a.root:/d/tracks")


def test_contents_tell_which_file_changed(tmp_path) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_text(path.name)
    total, each = contents(paths)
    assert total == digest(paths) == hashlib.sha256(b"ab").hexdigest()
    paths[1].write_text("c")
    changed_total, changed = contents([str(path) for path in paths])
    assert changed_total != total
    assert [name for name in each if each[name] != changed[name]] == [str(paths[1])]
