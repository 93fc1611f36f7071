"""The program ``hepgan``: options of all commands, and errors as messages and exit codes."""

from __future__ import annotations

import logging
import signal
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hepgan

__all__ = ["app", "fail", "main", "sort_commands"]


class _Commands(TyperGroup):
    """Turns bad input into one message and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        from hepgan.errors import ExportError, Interrupted

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except Interrupted as stop:  # saved, and as asked for: no failure
            fail(str(stop), code=0)
        except KeyboardInterrupt as stop:
            number = signal.SIGTERM if stop.args else signal.SIGINT
            fail("stopped by request; no file is left half-written", code=128 + number)
        except (ValueError, OSError, FloatingPointError) as error:
            if ctx.params.get("debug"):
                raise
            fail(str(error), code=1 if isinstance(error, (FloatingPointError, ExportError)) else 2)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the program ``hepgan``; a termination request ends it like Ctrl-C, so that nothing is left half-written."""
    signal.signal(signal.SIGTERM, _terminate)
    app(prog_name="hepgan")


def _terminate(number: int, _: object) -> None:
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
