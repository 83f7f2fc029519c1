"""Stands between a client and its server on standard input and output: writes down what is said.

Run as ``python tee.py TRANSCRIPT COMMAND …``: one line per message, ``<`` from the server and ``>``
to it; what the server complains about goes to ``TRANSCRIPT.err``. It ends as the server ends, and a
request to end is passed on to it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import IO


def _copy(source: IO[bytes], target: IO[bytes], mark: bytes, log: IO[bytes]) -> None:
    for line in source:
        log.write(mark + line)  # one write: the file is unbuffered
        try:
            target.write(line)
            target.flush()
        except OSError:  # the other side is gone
            return
    target.close()


def main() -> int:
    """Run the server and copy until it ends."""
    path, *command = sys.argv[1:]
    with (
        open(path, "ab", buffering=0) as log,
        open(f"{path}.err", "ab") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        copying = (sys.stdin.buffer, server.stdin, b"> ", log)
        threading.Thread(target=_copy, args=copying, daemon=True).start()
        _copy(server.stdout, sys.stdout.buffer, b"< ", log)
        return server.wait()


if __name__ == "__main__":
    sys.exit(main())
