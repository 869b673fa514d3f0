"""What is said on stderr while nobody may be listening any more.

A game day heals and tears down, too, when its terminal is closed or its reader ends (``2>&1 | head``): ``rich`` would
end the process with the first line that has nowhere to go.
"""

from __future__ import annotations

import os
from typing import Any, TextIO


class WhileHeard:
    """A text stream on a file descriptor, which leads nowhere from the first failure on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """What the stream still holds goes the same way, and what others write to this descriptor, too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
