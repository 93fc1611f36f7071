"""Claims: which worker trains which trial of a study, on machines that share nothing but a folder.

A trial is claimed by a file in ``running/`` that its worker touches as long as it lives. A trial whose file is gone was
given back; one whose file is old, or whose process is gone from this machine, has died. Either is free for another
worker. Times are those of the file system, so that clocks of machines need not agree.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hepgan.errors import HepganError

__all__ = ["Claims", "LostClaim"]

BEAT = 10.0  # seconds between touches
STALE = 180.0  # seconds; a network file system may show a time that is a minute old (acregmax of NFS)


class LostClaim(HepganError, RuntimeError):
    """A trial that another worker took over, because this process was stopped for minutes."""


class Claims:
    """Claims of the trials of a study.

    Args:
        folder: The folder of the files, ``running`` in that of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one worker at a time look for a trial or write the results; a lock of a dead worker ends after 30 s."""
        from optuna.storages.journal import JournalFileOpenLock

        lock = JournalFileOpenLock(str(self.folder / "workers"))
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def path(self, number: int) -> Path:
        """The file of a trial."""
        return self.folder / f"{number:04d}"

    @property
    def owner(self) -> str:
        """Machine and process of this worker."""
        return f"{platform.node()} {os.getpid()}"

    def take(self, number: int) -> None:
        """Claim a trial."""
        self.path(number).write_text(self.owner, encoding="utf-8")

    def died(self, number: int) -> bool:
        """Whether the worker of a trial is gone without having given it back."""
        path = self.path(number)
        try:
            node, _, pid = path.read_text(encoding="utf-8").rpartition(" ")
            age = self._now() - path.stat().st_mtime
        except FileNotFoundError:
            return False
        return age > STALE or (node == platform.node() and pid.isdigit() and not _exists(int(pid)))

    def given_back(self, number: int) -> bool:
        """Whether nobody claims a trial."""
        return not self.path(number).exists()

    def check(self, number: int) -> None:
        """Check that a claim is still that of this process.

        Raises:
            LostClaim: If it is not.
        """
        path = self.path(number)
        owner = path.read_text(encoding="utf-8") if path.exists() else "nobody"
        if owner != self.owner:
            raise LostClaim(
                f"trial {number:04d}: expected this worker to train it ({self.owner}), got {owner}: this process was "
                f"stopped for more than {STALE:.0f} s, and another one took over; nothing is lost, start it again"
            )

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Touch the file of a claimed trial as long as the block runs, then give it back."""
        ended, path = threading.Event(), self.path(number)

        def beat() -> None:
            while not ended.wait(BEAT):
                with suppress(OSError):  # a file system that is away for a moment
                    os.utime(path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with suppress(LostClaim, OSError):
                self.check(number)
                path.unlink()

    def beats(self, numbers: list[int]) -> dict[int, float]:
        """Time of the last touch of each claimed trial."""
        times = {}
        for number in numbers:
            with suppress(FileNotFoundError):
                times[number] = self.path(number).stat().st_mtime
        return times

    def _now(self) -> float:
        """Time of the file system (s)."""
        clock = self.folder / f"clock.{self.owner.replace(' ', '.')}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        return now


def _exists(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
