"""A node program in miniature: listens on both ports, says ready, and appends to its volume what it is sent.

Answers lines on port 7000: ``sync TEXT`` appends and fsyncs, ``write TEXT`` appends only, ``read`` gives the file back,
``reach ADDRESS`` connects to that node's port 7000.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path


def event(config, name):
    record = {
        "boot": time.clock_gettime(time.CLOCK_BOOTTIME),
        "wall": time.time(),
        "node": config["name"],
        "event": name,
    }
    with open(config["events"], "a") as file:
        file.write(json.dumps({**record, "pid": os.getpid()}) + "\n")


def answer(path, line):
    verb, _, text = line.strip().partition(" ")
    if verb in ("sync", "write"):
        with open(path, "a") as file:
            file.write(text + "\n")
            file.flush()
            if verb == "sync":
                os.fsync(file.fileno())
        return "done"
    if verb == "reach":
        try:
            socket.create_connection((text, 7000), timeout=1).close()
            return "reached"
        except OSError as error:
            return f"{type(error).__name__}"
    return path.read_text().replace("\n", ",") if path.exists() else ""


def serve(listener, path):
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            for line in stream:
                stream.write(answer(path, line) + "\n")
                stream.flush()


def web(listener, name):
    body = name.encode()
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )


def main():
    with open(sys.argv[sys.argv.index("--config") + 1]) as file:
        config = json.load(file)
    if config.get("plant") == "never-ready":
        sys.exit("planted: this node never becomes ready")
    path = Path(config["data"]) / "said" if Path(config["data"]).is_dir() else Path("/nonexistent/said")
    peers = socket.create_server((config["listen"], 7000))
    threading.Thread(target=serve, args=(peers, path), daemon=True).start()
    if config["role"] == "router":
        http = socket.create_server((config["listen"], 8000))
        threading.Thread(target=web, args=(http, config["name"]), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    event(config, "ready")
    while True:
        signal.pause()


main()
