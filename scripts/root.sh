#!/bin/sh
# Put ROOT under build/root: a virtual environment with ROOT's wheel from PyPI (an alpha, says the ROOT team; 250 MB to
# download, 700 MB on disk), with which the tests look at the files that hepgan writes. hepgan itself needs no ROOT.
#
#   scripts/root.sh [FOLDER]     prints its Python; does nothing when that can import ROOT
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build/root}
python=$folder/bin/python
version=0.1a12 # ROOT 6.40.00
stamp=$folder/.root-$version # written last: an interrupted installation starts again

if [ ! -f "$stamp" ]; then
    own=python3
    [ -x .venv/bin/python ] && own=.venv/bin/python
    echo "root.sh: installing root $version into $folder" >&2
    rm -rf "$folder"
    {
        "$own" -m venv "$folder" &&
            "$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "root==$version" numpy &&
            "$python" -W ignore -c 'import ROOT'
    } >&2 || {
        rm -rf "$folder"
        echo "root.sh: ROOT could not be installed (its wheels are for x86-64 Linux, Python 3.10 to 3.14);" \
            "set HEPGAN_ROOT_PYTHON to a Python that can import ROOT" >&2
        exit 1
    }
    touch "$stamp"
fi
echo "$python"
