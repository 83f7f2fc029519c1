"""Where commands print: results on stdout, remarks on stderr, both safe for a terminal."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from threadstore.cli.text import clean, cut, width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress

    from threadstore.cli.table import Column

__all__ = ["Console", "has_rich", "json_bytes"]


_PATIENCE: Final = 0.5
"""Seconds after which people want to know that something goes on."""


class Console:
    """The two streams of one command. Terminals get tables, pipes get plain lines."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        """Whether results go to a person's screen."""
        self.interactive = sys.stdin.isatty() and sys.stderr.isatty()
        """Whether somebody can answer a question."""
        self._remarks_seen = sys.stderr.isatty()

    @property
    def screen(self) -> int:
        """Columns of the terminal."""
        try:
            return os.get_terminal_size(sys.stdout.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def line(self, text: str = "") -> None:
        """Print one line of result."""
        self._print(text, "\n")

    def piece(self, text: str) -> None:
        """Print a part of a line, at once."""
        self._print(text, "")
        sys.stdout.flush()

    def record(self, *fields: str) -> None:
        """Print one line for programs: the fields, separated by tabs."""
        self.line("\t".join(" ".join(field.splitlines()).replace("\t", " ") for field in fields))

    def marked(self, head: str, text: str, marks: Sequence[tuple[int, int]]) -> None:
        """Print one line on a terminal: *head*, then *text* cut to the screen, with its parts
        *marks* in bold where colours are welcome."""
        text = cut(clean(text), max(self.screen - width(head), 20))
        if "NO_COLOR" in os.environ:
            marks = ()
        line, place = clean(head), 0
        for start, end in marks:
            line += f"{text[place:start]}\x1b[1m{text[start:end]}\x1b[0m"
            place = max(place, end)
        self._write(line + text[place:], "\n")

    def remark(self, text: str, *, dim: bool = False) -> None:
        """Say something about the result, on stderr; *dim* where a terminal can."""
        sys.stdout.flush()
        text = clean(text)
        if dim and self._remarks_seen and "NO_COLOR" not in os.environ:
            text = f"\x1b[2m{text}\x1b[0m"
        print(text, file=sys.stderr)  # stderr escapes what it cannot encode

    def prompt(self, text: str) -> None:
        """Ask for a line, on stderr."""
        sys.stdout.flush()
        print(clean(text), end="", file=sys.stderr, flush=True)

    def json(self, value: Any) -> None:
        """Print JSON: indented on a terminal, on one line in a pipe."""
        data = json_bytes(value)
        if self.terminal:
            import msgspec

            data = msgspec.json.format(data)
        self.raw(data + b"\n")

    def raw(self, data: bytes) -> None:
        """Print bytes as they are."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """Send what was printed on its way, before a wait."""
        sys.stdout.flush()

    def confirm(self, question: str) -> bool:
        """Ask the person at the terminal; anything but yes is no."""
        with _ctrl_c_at_once():
            self.prompt(f"{question} [y/N] ")
            return sys.stdin.readline().strip().lower() in ("y", "yes")

    def read_all(self) -> str:
        """All of stdin, without the newline at its end."""
        with _ctrl_c_at_once():
            return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Print a table for people."""
        if has_rich() and _can_draw():
            from threadstore.cli.rich_view import print_table

            print_table(columns, rows)
            return
        from threadstore.cli.table import plain_lines

        for line in plain_lines(columns, rows, self.screen):
            self.line(line)

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show that something takes its time, where a person can see it, if it takes long."""
        if not (self._remarks_seen and has_rich()):
            yield
            return
        bars: list[Progress] = []

        def start() -> None:
            from threadstore.cli.rich_view import progress

            bars.append(progress(what))
            bars[0].start()

        timer = threading.Timer(_PATIENCE, start)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            for bar in bars:
                bar.stop()

    @contextlib.contextmanager
    def reporting(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show how much of the work is done, where a person can see it and if it takes long; the
        function to call with what is done and what there is in all."""
        start, shown = time.monotonic(), False
        with contextlib.ExitStack() as bars:
            bar: Progress | None = None

            def report(done: int, total: int) -> None:
                nonlocal bar, shown
                if not self._remarks_seen or time.monotonic() - start < _PATIENCE:
                    return
                shown = True
                if not has_rich():
                    print(f"\r{what}: {done} of {total}", end="", file=sys.stderr, flush=True)
                    return
                if bar is None:
                    from threadstore.cli.rich_view import counter

                    bar = bars.enter_context(counter(what, total))
                bar.update(bar.task_ids[0], completed=done, total=total)

            yield report
        if shown and bar is None:
            print(file=sys.stderr)

    def _print(self, text: str, end: str) -> None:
        self._write(clean(text), end)

    def _write(self, text: str, end: str) -> None:
        try:
            print(text, end=end)
        except UnicodeEncodeError:  # a terminal or pipe that is not UTF-8
            encoding = sys.stdout.encoding
            print(text.encode(encoding, "backslashreplace").decode(encoding), end=end)

    @contextlib.contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show how many of *total* things are done, where a person can see it; the function to
        call for each."""
        if not self._remarks_seen:
            yield lambda: None
        elif has_rich():
            from threadstore.cli.rich_view import counter

            with counter(what, total) as bar:
                yield lambda: bar.advance(bar.task_ids[0])
        else:
            done = itertools.count(1)
            try:
                yield lambda: print(
                    f"\r{what}: {next(done)} of {total}", end="", file=sys.stderr, flush=True
                )
            finally:
                print(file=sys.stderr)


@contextlib.contextmanager
def _ctrl_c_at_once() -> Iterator[None]:
    """While the loop waits for input it cannot act on Ctrl-C, so that the default has to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    import signal

    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, inherited)


def has_rich() -> bool:
    """Whether the ``rich`` extra is installed."""
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True


def _can_draw() -> bool:
    """Whether the terminal knows the characters of a frame."""
    try:
        "╭│─…".encode(sys.stdout.encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def json_bytes(value: Any) -> bytes:
    """Compact JSON. Names of files that are not UTF-8 are escaped instead of refused."""
    import msgspec

    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        import json

        return json.dumps(value).encode()
