"""What holds for every test."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a script, this process and its children would be deaf to Ctrl-C, which tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
