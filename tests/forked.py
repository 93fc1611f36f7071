"""The program hepgan in real processes, forked from one that has imported it: a start takes milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_LATE = [
    "torch._dynamo",
    "torch._inductor",
    "rich.logging",
    "typer._adapters",
]  # imported when they are needed
_CONTEXT.set_forkserver_preload(["hepgan.cli", "hepgan.training.loop", "uproot", *_LATE])

_OPERATIONS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir"}  # of files, as audited by Python


@dataclass
class Fate:
    """How a process ends before its time.

    Attributes:
        operation: Number of the operation on files below `path` just before which a signal comes; 0: never.
        path: A folder, or a file.
        signal: That signal.
        most_bytes: Size of a file at which writing fails, as on a full disk, or kills; 0: no limit.
        kills: Whether it kills, in the middle of the write.
    """

    operation: int = 0
    path: str = ""
    signal: int = signal.SIGKILL
    most_bytes: int = 0
    kills: bool = False

    def begins(self) -> None:
        """Let it come over this process."""
        left = self.operation

        def before(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in _OPERATIONS and str(arguments[0]).startswith(self.path):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), self.signal)

        if self.operation:
            sys.addaudithook(before)
        if self.most_bytes:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.most_bytes, self.most_bytes))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if self.kills else signal.SIG_IGN)


def start(arguments: list[str], output: Path, fate: Fate | None = None) -> Any:
    """Start ``hepgan ARGUMENTS``; what it prints goes to the file `output`."""
    process = _CONTEXT.Process(target=_main, args=(arguments, output, fate or Fate()), daemon=True)
    process.start()
    return process


def run(arguments: list[str], output: Path, fate: Fate | None = None) -> int:
    """Run ``hepgan ARGUMENTS`` to its end; return the exit code, negative if a signal killed it."""
    process = start(arguments, output, fate)
    process.join(120)
    assert process.exitcode is not None, f"still running: {output.read_text()}"
    return process.exitcode


def _main(arguments: list[str], output: Path, fate: Fate) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from hepgan.cli import main

    sys.argv = ["hepgan", *arguments]
    fate.begins()
    main()
