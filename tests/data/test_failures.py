"""Failures to read a file, sorted by what the user can do about them."""

import gc
import http.server
import threading
import warnings
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import uproot
from uproot.deserialization import DeserializationError

from hepgan.data.failures import cause_of, unreadable
from hepgan.data.inspection import inspect
from hepgan.data.reading import iterate_conditions, read
from hepgan.errors import DataError, NotFoundError

# uproot leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; ``/parts/NAME`` with range requests, ``/secret`` with nothing."""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/secret":
            self.send_error(403)
        elif self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("moved", "parts"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/busy"):
            self.send_error(503)
        elif self.path.startswith("/parts/") and "Range" in self.headers:
            content = Path(self.directory, self.path.removeprefix("/parts/")).read_bytes()
            ranges = self.headers["Range"].removeprefix("bytes=").split(",")
            first, last = (
                int(n or len(content) - 1) for n in ranges[0].split("-")
            )  # one range: uproot falls back
            body = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.path.startswith("/parts/"):
            self.path = self.path.removeprefix("/parts")
        super().do_HEAD()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # not in the next test
        gc.collect()


def test_urls_that_cannot_be_read(server, tiny_file, tmp_path) -> None:
    tiny_file(name="a.root")
    Path(tmp_path, "b.txt").write_text("hello " * 200)
    with pytest.raises(
        DataError, match=r"/a\.root: cannot read the file: the server does not support range requests"
    ):
        inspect(f"{server}/a.root")
    with pytest.raises(NotFoundError, match=r"/none\.root: cannot read the file: not found .*404"):
        inspect(f"{server}/none.root")
    with pytest.raises(
        DataError, match=r"/busy: cannot read the file: the server answers with an error .*503"
    ):
        inspect(f"{server}/busy")
    with pytest.raises(DataError, match=r"/b\.txt: cannot read the file: it is not a ROOT file"):
        inspect(f"{server}/parts/b.txt")
    for url in ("http://", "http://[::a/b.root", "http://host:port/b.root"):
        with pytest.raises(
            DataError, match=r"expected a URL such as .*, got one without a host, or with a port"
        ):
            inspect(url)
    with pytest.raises(DataError, match=r"expected the URL of one file, got a pattern"):
        inspect(f"{server}/parts/*.root")
    (tree,) = inspect(f"{server}/moved/a.root").trees  # a redirection to a path
    assert tree.entries
    with pytest.raises(DataError, match=r"/secret: cannot read the file: access is refused"):
        inspect(f"{server}/secret")
    with pytest.raises(
        DataError, match=r"the server cannot be reached .*refused.*; check host, port and network"
    ):
        inspect("http://127.0.0.1:1/a.root")


def test_a_url_with_range_requests_is_read_even_as_a_path(server, tiny_file, tiny_data, tiny_events) -> None:
    tiny_file(name="a.root")
    url = f"{server}/parts/a.root"
    data = tiny_data([url])
    for place in (url, Path(url)):  # a path has lost a slash
        events = read(data, files=[place])
        np.testing.assert_array_equal(events.cells, tiny_events.cells)
        (conditions,) = iterate_conditions(data, place)
        np.testing.assert_array_equal(conditions, tiny_events.conditions)
        assert inspect(place).path == url
    assert [tree.name for tree in inspect(f"{url}:showers").trees] == ["showers"]


def test_a_file_url_is_a_path(tmp_path, tiny_file, tiny_data, tiny_events) -> None:
    path = tiny_file(name="a b.root")
    url = Path(path).as_uri()
    assert "%20" in url
    np.testing.assert_array_equal(read(tiny_data([url])).cells, tiny_events.cells)
    assert inspect(url).path == path
    with pytest.raises(NotFoundError, match=r"data file not found: .*none\.root"):
        inspect((tmp_path / "none.root").as_uri())


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("root://127.0.0.1:1//store/a.root", "fsspec-xrootd"),
        ("s3://bucket/a.root", "s3fs"),
        ("sftp://host/a.root", "paramiko"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, url, package) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise ImportError("not here") from ModuleNotFoundError("No module named 'x'", name="x")

    monkeypatch.setattr(uproot, "open", missing)
    with pytest.raises(
        DataError, match=rf"a Python package is missing .*; install it with pip install {package}$"
    ):
        inspect(url)


@pytest.mark.parametrize(
    ("error", "of", "word"),
    [
        (zlib.error("Error -3 while decompressing data: incorrect header check"), "objects", "damaged"),
        (
            AssertionError("Anchor checksum does not match! File is corrupted or incompatible."),
            "file",
            "damaged",
        ),
        (OSError("expected Chunk of length 100,\nreceived 50 bytes from File"), "numbers", "damaged"),
        (NotImplementedError("memberwise serialization of Model_Ev"), "objects", "unsupported"),
        (
            ValueError("cannot produce Awkward Arrays for interpretation AsObjects(X) because"),
            "objects",
            "unsupported",
        ),
        (
            ValueError("basket 0 in tree/branch /t;1:x has the wrong number of bytes (9)"),
            "numbers",
            "unsupported",
        ),
        (KeyError("Beam.TObject"), "objects", "unsupported"),
        (MemoryError("Unable to allocate 13.0 GiB"), "objects", "unsupported"),
        (KeyError("x"), "file", "unreadable"),
        (
            ModuleNotFoundError("install the 'isal' package with:\n\n    pip install isal"),
            "numbers",
            "package missing",
        ),
        (ValueError("Protocol not known: nope"), "file", "unknown scheme"),
        (PermissionError(13, "Permission denied"), "file", "refused"),
        (TimeoutError("timed out"), "file", "no answer"),
    ],
)
def test_causes(error, of, word) -> None:
    assert cause_of(error, of=of).word == word


def test_the_first_cause_of_a_chain_counts() -> None:
    try:
        try:
            raise zlib.error("Error -3")
        except zlib.error as error:
            raise ValueError("while reading") from error
    except ValueError as error:
        message = str(unreadable("a.root", "branch 'x' (float) of tree 't'", error, of="numbers"))
    assert message == (
        "a.root: cannot read branch 'x' (float) of tree 't': the file is damaged (while reading); copy or make it again"
    )


def test_a_basket_of_numbers_that_ends_early_is_damaged(tiny_file) -> None:
    path = tiny_file()
    with uproot.open(path) as file:
        chunk = file.file.source.chunk(0, 10)
    error = DeserializationError("attempting to get bytes 0:6", chunk, None, {}, path)
    assert cause_of(error, of="numbers").word == "damaged"
    assert cause_of(error, of="objects").word == "unsupported"
