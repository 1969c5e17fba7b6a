"""More wishes in the answer to the kernel's greeting than pyfuse3 can have, each a bit of its flags.

``DONT_MASK``: umasks are left to us. Where a directory has a default access control list the umask does not count, so whoever
keeps such lists must see modes before it is applied.

``KILLPRIV``: who writes into a file, cuts it or gives it away, and may not keep its set-id bits, loses them through us: the
kernel says so by a request to change attributes that names none (or only a size or an owner). It then remembers that a file
has neither set-id bits nor ``security.capability``; without this wish it asks for that attribute before every single write. A
kernel that is too old to know it goes on asking.

For the length of one reply the descriptor leads to a socket, and the reply goes on to the kernel with more bits. Layout:
``struct fuse_out_header`` and ``struct fuse_init_out`` of ``linux/fuse.h``, which never change.

What always holds: whatever the reply is, it reaches the kernel, and the descriptor is the kernel's again.
"""

import os
import socket
import struct

DONT_MASK = 1 << 6
KILLPRIV = 1 << 28
"""``FUSE_HANDLE_KILLPRIV_V2``, of Linux 5.12."""
_HEADER = struct.Struct("=IiQ")
_FLAGS = struct.Struct("=I")
_FLAGS_AT = _HEADER.size + 12
_SHORTEST = _HEADER.size + 24


class Detour:
    """The descriptor ``fd`` of a session, leading to us until :meth:`end`."""

    def __init__(self, fd: int, wishes: int) -> None:
        self._fd = fd
        self._wishes = wishes
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._kernel = os.dup(fd)
        with theirs:
            os.dup2(theirs.fileno(), fd, inheritable=False)

    def end(self) -> None:
        """Hand the kernel what was written meanwhile, and the descriptor back."""
        os.dup2(self._kernel, self._fd, inheritable=False)
        os.close(self._kernel)
        with self._ours:
            try:
                reply = self._ours.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
        os.write(self._fd, amended(reply, self._wishes))


def amended(reply: bytes, wishes: int) -> bytes:
    """The reply to the greeting with the wishes; anything else as it is."""
    if len(reply) < _SHORTEST or _HEADER.unpack_from(reply)[1]:
        return reply
    (flags,) = _FLAGS.unpack_from(reply, _FLAGS_AT)
    return reply[:_FLAGS_AT] + _FLAGS.pack(flags | wishes) + reply[_FLAGS_AT + _FLAGS.size :]
