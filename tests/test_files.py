"""Paths and URLs, and writing files: completely or not at all."""

import ctypes
import hashlib
import logging
import os
from pathlib import Path

import pytest

from hepgan import files
from hepgan.errors import NotFoundError
from hepgan.files import compiled, contents, digest, expand, is_url, location, write_text


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


@pytest.fixture
def sources(tmp_path, monkeypatch) -> Path:
    """A folder with a function in C++, and an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HEPGAN_KERNELS", raising=False)
    folder = tmp_path / "package" / "cpp"
    folder.mkdir(parents=True)
    (folder / "twice.cpp").write_text('extern "C" void twice(double* x, long n) { while (n--) *x++ *= 2; }')
    return folder


def doubled(sources: Path) -> float | None:
    """Twice 21 by the compiled function; None without it."""
    functions = compiled(sources, {"twice": "pl"}, loss="numbers are not doubled")
    if functions is None:
        return None
    number = ctypes.c_double(21)
    functions["twice"](ctypes.addressof(number), 1)
    return number.value


def test_cpp_is_compiled_once_and_again_when_it_changes(sources) -> None:
    cache = files.cache_folder()
    assert doubled(sources) == 42
    (made,) = cache.iterdir()
    assert made.name.startswith("package-")
    time = made.stat().st_mtime_ns
    assert doubled(sources) == 42
    assert made.stat().st_mtime_ns == time
    (sources / "twice.cpp").write_text('extern "C" void twice(double* x, long) { *x *= 3; }')
    assert doubled(sources) == 63
    assert len(list(cache.iterdir())) == 2


def test_cpp_can_be_switched_off(sources, monkeypatch) -> None:
    monkeypatch.setenv("HEPGAN_KERNELS", "off")
    assert doubled(sources) is None


def test_without_a_compiler_it_is_said_what_is_lost(sources, monkeypatch, caplog) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.INFO):
        assert doubled(sources) is None
    assert "numbers are not doubled; install g++" in caplog.text


def test_a_compiler_that_fails_is_named(sources, monkeypatch, caplog, tmp_path) -> None:
    compiler = tmp_path / "bad-compiler"
    compiler.write_text("#!/bin/sh\ncase $1 in --version) echo 1;; *) echo no luck >&2; exit 1;; esac\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert doubled(sources) is None
    assert "bad-compiler (no luck): numbers are not doubled; set HEPGAN_KERNELS=off" in caplog.text
    assert not list(files.cache_folder().glob("*.so"))


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_one(sources, tmp_path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "hepgan").write_text("a file in the place of the folder")
    assert doubled(sources) == 42
