"""A process that starts a Conductor server and ends it, also if the process that wanted it is gone.

It is run by its path, as a script of its own (``python -I``), so it imports the standard library only.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path


class Guard:
    """Starts the server and ends it: one line of JSON in, one out.

    The server is its child, so the id that it signals cannot be another process's.
    """

    def __init__(self) -> None:
        self.server: subprocess.Popen[bytes] | None = None
        self.folder = Path()
        self.temporary = False
        self.patience = 10.0
        self.parent = os.getppid()

    def serve(self) -> int:
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(stop, lambda *_: sys.exit(0))
        try:
            while line := self._next_line():
                order = json.loads(line)
                try:
                    answer = {"is": getattr(self, f"do_{order.pop('do')}")(**order)}
                except OSError as error:
                    answer = {"error": f"{error}"}
                print(json.dumps(answer), flush=True)
        except (BrokenPipeError, SystemExit):
            pass
        finally:
            self.do_terminate()
            if self.temporary:
                shutil.rmtree(self.folder, ignore_errors=True)
        return 0

    def _next_line(self) -> str:
        """The next order; "" if the parent is gone or has closed the pipe.

        The end of the pipe is not sufficient: a fork of the parent may hold it open.
        """
        while not select.select([sys.stdin], [], [], 1)[0]:
            if os.getppid() != self.parent:
                return ""
        line = sys.stdin.readline()
        return "" if '"close"' in line else line

    def do_open(self, folder: str, temporary: bool, patience: float) -> None:
        self.folder, self.temporary, self.patience = Path(folder), temporary, patience

    def do_start(self, command: list[str]) -> int:
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.server.pid

    def do_poll(self) -> int | None:
        return self.server.poll() if self.server else 0

    def do_kill(self) -> None:
        if self.server:
            self.server.kill()
            self.server.wait()

    def do_terminate(self) -> None:
        if self.server and self.server.poll() is None:
            # A server that a test has stopped with SIGSTOP would not receive it.
            self.server.send_signal(signal.SIGCONT)
            self.server.terminate()
            try:
                self.server.wait(self.patience)
            except subprocess.TimeoutExpired:
                self.do_kill()


if __name__ == "__main__":
    sys.exit(Guard().serve())
