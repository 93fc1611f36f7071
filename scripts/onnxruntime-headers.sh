#!/bin/sh
# Put the headers of ONNX Runtime (C interface) under build/onnxruntime, without root and without installing anything.
#
# They come from the package libonnxruntime-dev. The mirror is the one that this machine's apt already uses; the
# suite is Debian's trixie, because older ones do not have the package, then the machine's own. The library itself
# is not needed for compiling: at run time the one in the Python wheel, or any other, is loaded.
#
#   scripts/onnxruntime-headers.sh [FOLDER]     prints the folder; does nothing when the headers are there
set -eu
cd "$(dirname "$0")/.."
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
exec "$python" - "${1:-build/onnxruntime}" <<'PYTHON'
import gzip
import hashlib
import io
import lzma
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

PACKAGE = "libonnxruntime-dev"
SUITE = "trixie"
HEADER = "onnxruntime_c_api.h"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}


def say(text):
    print(f"onnxruntime-headers: {text}", file=sys.stderr)


def sources(root=Path(os.environ.get("HEPGAN_APT", "/etc/apt"))):
    """(mirror, suite, components) of the machine's apt, in both formats of its source lists."""
    files = [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.suffix == ".list":
            for line in text.splitlines():
                match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
                if match:
                    yield match[1], match[2], match[3].split()
        elif file.suffix == ".sources":
            for block in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
                unfolded = re.sub(r"\n[ \t]+", " ", block)
                fields = {k.strip().lower(): v.split() for k, _, v in (line.partition(":") for line in unfolded.splitlines())}
                if "deb" not in fields.get("types", []) or fields.get("enabled", ["yes"])[0].lower() in ("no", "false"):
                    continue
                for mirror in fields.get("uris", []):
                    for suite in fields.get("suites", []):
                        yield mirror, suite, fields.get("components", [])


def opener():
    """Downloads through apt's proxy if it has one, else through the environment's."""
    proxies = urllib.request.getproxies()
    if shutil.which("apt-config"):
        for scheme in ("http", "https"):
            command = ["apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"]
            match = re.search(r"proxy='([^']+)'", subprocess.run(command, capture_output=True, text=True).stdout)
            if match and match[1] != "DIRECT":
                proxies[scheme] = match[1]
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies))


def fetch(url):
    with DOWNLOADS.open(url, timeout=60) as response:
        return response.read()


def entry(mirror, suite, component, architecture):
    """The package's fields in a repository's index, or None."""
    for name, expand in (("Packages.xz", lzma.decompress), ("Packages.gz", gzip.decompress)):
        try:
            index = expand(fetch(f"{mirror}/dists/{suite}/{component}/binary-{architecture}/{name}")).decode()
        except urllib.error.HTTPError as error:
            if error.code in (403, 404, 410):
                continue
            raise
        match = re.search(rf"(?m)^Package: {PACKAGE}\n(?:.+\n)*", index)
        return dict(re.findall(r"(?m)^(\S+): (.*)$", match[0])) if match else None
    return None


def unpack(package, folder):
    """Write the headers of a .deb (an ar archive with data.tar.*) flat into a folder."""
    position = 8
    while position + 60 <= len(package):
        name, size = package[position : position + 16].decode().strip(), int(package[position + 48 : position + 58])
        content = package[position + 60 : position + 60 + size]
        position += 60 + size + size % 2
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                for member in archive:
                    path = Path(member.name)
                    if member.isfile() and path.suffix == ".h" and "core" not in path.parts:
                        (folder / path.name).write_bytes(archive.extractfile(member).read())


def main(target):
    known = [Path("/usr/include/onnxruntime"), target]
    for folder in known[::-1]:
        if (folder / HEADER).is_file():
            print(folder)
            return 0
    architecture = ARCHITECTURES.get(platform.machine(), "amd64")
    repositories = {}
    for mirror, suite, components in sources():
        if mirror.startswith(("http://", "https://")):
            for component in components or ["main"]:
                repositories[mirror.rstrip("/"), SUITE, component] = None
    for mirror, suite, components in sources():
        if mirror.startswith(("http://", "https://")):
            repositories.update({(mirror.rstrip("/"), suite, component): None for component in components})
    if not repositories:
        say("expected a mirror in apt's sources, got none; install ONNX Runtime's headers and set ONNXRUNTIME_ROOT")
        return 1
    for mirror, suite, component in repositories:
        try:
            fields = entry(mirror, suite, component, architecture)
            if fields is None:
                continue
            say(f"{PACKAGE} {fields['Version']} from {suite}/{component}")
            package = fetch(f"{mirror}/{fields['Filename']}")
        except (OSError, lzma.LZMAError) as error:
            say(f"{suite}/{component}: {error}")
            continue
        got = hashlib.sha256(package).hexdigest()
        if got != fields["SHA256"]:
            say(f"{PACKAGE}: expected sha256 {fields['SHA256']}, got {got}; the mirror or the connection altered it")
            return 1
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            folder = Path(temporary, "headers")
            folder.mkdir()
            unpack(package, folder)
            if not (folder / HEADER).is_file():
                say(f"{PACKAGE}: expected {HEADER} in it, got none")
                return 1
            shutil.rmtree(target, ignore_errors=True)
            folder.replace(target)
        print(target)
        return 0
    say(f"no {PACKAGE} at the mirrors of this machine's apt; install the headers and set ONNXRUNTIME_ROOT")
    return 1


DOWNLOADS = opener()
sys.exit(main(Path(sys.argv[1])))
PYTHON
