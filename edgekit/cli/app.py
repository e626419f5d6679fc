"""The command group: every failure becomes one readable message, its way out and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
import warnings
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

import click

from edgekit.errors import EdgekitError, GapError, OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


class App(click.Group):
    """click's group with edgekit's errors: `error:` and `way out:` on stderr, JSON on stdout with --json."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **settings)
        self.params.append(_version_option())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Commands in the order of use, not of the alphabet."""
        return list(self.commands)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        """Run and leave with the exit code; nothing but SystemExit comes out."""
        words = list(sys.argv[1:] if args is None else args)
        settings["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a name the terminal's encoding has not
        warnings.showwarning = cast(
            "Any", _show_warning
        )  # this is the process: nobody else shows warnings in it
        try:
            code = super().main(words, *rest, **settings)
        except Exception as error:  # noqa: BLE001 - the outermost frame: any other failure is told as a bug
            code = report_error(error, words)
        except KeyboardInterrupt:
            code = _interrupted()
        sys.exit(code if isinstance(code, int) else 0)


def report_error(error: Exception, words: Sequence[str]) -> int:
    """Tell an exception on stderr (and as JSON on stdout where `words` hold --json); its exit code."""
    if isinstance(error, click.Abort):
        return _interrupted()
    if isinstance(error, BrokenPipeError):
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # nobody reads on: nor does the exit flush
        return 1
    shown = _as_told(error)
    from edgekit.reports.terminal import clean

    click.echo(f"error: {clean(shown.problem)}", err=True)
    if shown.fix:
        click.echo(f"  way out: {clean(shown.fix)}", err=True)
    if isinstance(shown, GapError):
        _echo_gaps(shown)
    if {"-v", "--verbose"} & set(words):
        for line in "".join(traceback.format_exception(error)).splitlines():
            click.echo(f"  | {clean(line)}", err=True)
    if "--json" in words:
        _echo_json(shown)
    return shown.exit_code


class BugError(EdgekitError):
    """An exception that edgekit did not raise on purpose."""


class MisuseError(EdgekitError):
    """click's own refusal of a command line."""

    exit_code = 2


def _as_told(error: Exception) -> EdgekitError:
    """Any exception in the form of an EdgekitError."""
    if isinstance(error, EdgekitError):
        return error
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "edgekit"
        return MisuseError(error.format_message().rstrip("."), fix=f"{where} --help shows how it is used")
    if isinstance(error, OSError) and error.errno in _DISK:
        return OutputError(
            f"nothing can be written ({error.strerror})", fix="make room, or name another place"
        )
    if isinstance(error, MemoryError):
        return OutputError(
            "there is not enough memory for this model", fix="use smaller shapes or another host"
        )
    return BugError(
        f"sorry, this is a bug in edgekit: {type(error).__name__}: {error}",
        fix="run it again with -v and report the traceback",
    )


def _echo_gaps(error: GapError) -> None:
    from edgekit.reports.convert_report import gap_line

    for gap in error.gaps:
        click.echo(f"  {gap_line(gap)}", err=True)


def _echo_json(error: EdgekitError) -> None:
    from edgekit.reports.json_form import document

    kind = type(error).__name__
    gaps = error.gaps if isinstance(error, GapError) else ()
    body = {"kind": kind, "problem": error.problem, "way_out": error.fix, "exit_code": error.exit_code}
    click.echo(document("error", error=body, gaps=gaps))


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Python's warnings.showwarning as one readable line."""
    from edgekit.reports.terminal import clean

    click.echo(f"warning: {clean(str(message))}", err=True)


def _interrupted() -> int:
    click.echo("error: interrupted; no half bundle is left", err=True)
    return 130


def _version_option() -> click.Option:
    def show(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            click.echo(f"edgekit {metadata.version('edgekit')}")
            context.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Show the version.",
    )
