"""The program ``hepgan``: options of all commands, and errors as messages and exit codes."""

from __future__ import annotations

import logging
import signal
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hepgan

__all__ = ["app", "fail", "main", "sort_commands"]

_requests: list[
    int
] = []  # signals that asked to stop; a library may turn its KeyboardInterrupt into another error


class _Commands(TyperGroup):
    """Turns bad input into one message and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        from hepgan.errors import ExportError, HepganError, Interrupted, WorkerFailed

        _requests.clear()
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except Interrupted as stop:  # saved, and as asked for: no failure
            fail(str(stop), code=0)
        except KeyboardInterrupt as stop:
            _stopped(stop.args[0] if stop.args else signal.SIGINT)
        except Exception as error:
            if _requests and not isinstance(error, HepganError):
                _stopped(_requests[0])
            if ctx.params.get("debug") or isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # the latter two are typer's own
            failed = (FloatingPointError, ExportError, WorkerFailed)
            fail(_message(error), code=1 if isinstance(error, failed) else 2)


def _stopped(number: int) -> None:
    fail("stopped by request; no file is left half-written", code=128 + number)


def _message(error: Exception) -> str:
    """What to say of an error."""
    from hepgan.errors import HepganError

    text = str(error).strip()
    if isinstance(error, (HepganError, ValueError, OSError, FloatingPointError)):
        return text
    if isinstance(error, MemoryError) or "allocate memory" in text:  # torch raises RuntimeError
        return (
            f"not enough memory ({text.splitlines()[0] if text else 'the machine has no more'}); take fewer events, or "
            "a smaller batch or model"
        )
    return (
        f"{type(error).__name__}: {text or 'without a message'}; hepgan did not expect this: please report it with "
        "what HEPGAN_DEBUG=1 prints"
    )


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the program ``hepgan``; a termination request ends it like Ctrl-C, so that nothing is left half-written."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if (
            signal.getsignal(number) is not signal.SIG_IGN
        ):  # as after nohup, and in the background of a script
            signal.signal(number, _stop)
    app(prog_name="hepgan")


def _stop(number: int, _: object) -> None:
    _requests.append(number)
    raise KeyboardInterrupt(number)


def sort_commands(*names: str) -> None:
    """Put the commands into the order in which the help lists them."""
    app.registered_commands.sort(key=lambda command: names.index(getattr(command.callback, "__name__", "")))


def fail(message: str, *, code: int) -> None:
    """Print a message on the standard error and exit."""
    typer.echo(f"hepgan: {message}", err=True)
    raise typer.Exit(code) from None


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hepgan {hepgan.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
    debug: Annotated[
        bool, typer.Option(envvar="HEPGAN_DEBUG", help="show the traceback of an error")
    ] = False,
) -> None:
    """Generators of detector response: trained on MC ROOT files, exported to one ONNX file that C++ runs."""
    from rich.logging import RichHandler

    from hepgan.progress import CONSOLE

    handler = RichHandler(console=CONSOLE, show_path=False, show_level=False)
    logging.basicConfig(format="%(message)s", handlers=[handler], level=logging.WARNING)
    logging.getLogger("hepgan").setLevel(logging.DEBUG if debug else logging.INFO)
