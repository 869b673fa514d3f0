"""``fdatasync`` by the kernel's own asynchronous I/O: no thread of ours waits, so none fights for the interpreter.

A log sync is on the path of every commit. In a thread it costs several hand-overs of the interpreter's lock, each of
which may take as long as the loop's work of the moment; here it is one system call to begin it and an eventfd that
the loop is watching anyway. Linux has IOCB_CMD_FDSYNC since 4.18; it is the same ``vfs_fsync`` with the same errors.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import struct
from collections.abc import Callable
from typing import Final

Done = Callable[[OSError | None], None]
"""Called once on the event loop when a sync has ended: None, or why what was written must be taken as lost."""

IN_FLIGHT_MAX: Final = 16
_FDSYNC: Final = 3
_FLAG_RESFD: Final = 1
_IOCB: Final = struct.Struct("<QIIHhIQQqQII")  # struct iocb of <linux/aio_abi.h>, little-endian
_EVENT: Final = struct.Struct("<QQqq")
_CALLS: Final = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
"""Numbers of io_setup, io_destroy, io_getevents and io_submit."""


class KernelSync:
    """One context of the kernel's asynchronous I/O. Made by :meth:`open`; used on the event loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: int, calls: tuple[int, int, int, int]) -> None:
        self._loop = loop
        self._context = ctypes.c_ulong(context)
        _, self._destroy, self._getevents, self._submit = calls
        # None of these calls blocks, so the interpreter's lock is kept.
        self._syscall = ctypes.PyDLL(None, use_errno=True).syscall
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._events = ctypes.create_string_buffer(_EVENT.size * IN_FLIGHT_MAX)
        # The kernel copies a request when it is submitted, so that one buffer serves them all.
        self._request = ctypes.create_string_buffer(_IOCB.size)
        self._requests = (ctypes.c_void_p * 1)(ctypes.addressof(self._request))
        self._next = 0
        self._under_way: dict[int, Done] = {}
        loop.add_reader(self._eventfd, self._reap)

    @classmethod
    def open(cls, loop: asyncio.AbstractEventLoop) -> KernelSync | None:
        """None where the kernel, or whoever filters its calls, does not offer this."""
        calls = _CALLS.get(platform.machine())
        if calls is None:
            return None
        context = ctypes.c_ulong(0)
        if ctypes.PyDLL(None).syscall(calls[0], IN_FLIGHT_MAX, ctypes.byref(context)) != 0:
            return None
        return cls(loop, context.value, calls)

    def begin(self, fd: int, done: Done) -> bool:
        """Begin to make everything written to ``fd`` durable; False where that is not possible this way, and nothing
        was begun."""
        if len(self._under_way) >= IN_FLIGHT_MAX:
            return False
        self._next = number = self._next + 1
        _IOCB.pack_into(self._request, 0, number, 0, 0, _FDSYNC, 0, fd, 0, 0, 0, 0, _FLAG_RESFD, self._eventfd)
        if self._syscall(self._submit, self._context, 1, self._requests) != 1:
            return False
        self._under_way[number] = done
        return True

    def _reap(self) -> None:
        try:
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            return
        count = self._syscall(self._getevents, self._context, 0, IN_FLIGHT_MAX, self._events, None)
        if count < 0:
            raise OSError(ctypes.get_errno(), "io_getevents")
        for index in range(count):
            number, _, result, _ = _EVENT.unpack_from(self._events, index * _EVENT.size)
            self.ended(number, result)

    def ended(self, number: int, result: int) -> None:
        """The kernel's answer: 0, or an error's number below zero."""
        done = self._under_way.pop(number)
        done(None if result == 0 else OSError(-result, os.strerror(-result)))

    def close(self) -> None:
        """Forget what is under way; waits in the kernel until it has ended there."""
        self._loop.remove_reader(self._eventfd)
        self._under_way.clear()
        self._syscall(self._destroy, self._context)
        os.close(self._eventfd)
