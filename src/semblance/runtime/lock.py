"""A lock on a folder that ends with the process that holds it, however that ends."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semblance.errors import CannotWrite, UserError
from semblance.shown import shown

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def locked(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock at `path` within; a UserError where another process does, on this host or, by NFS, another.

    Yields whether the disk has locks at all. what: the thing that it guards, for the error.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        held = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # open to write, it would keep a disk so
        try:
            known = _take(held, what)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.close(held)
            held = os.open(path, os.O_RDWR | os.O_NOFOLLOW)  # as NFS wants it
            known = _take(held, what)
        if known:
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", errors="backslashreplace")
    except OSError as error:
        raise CannotWrite(f"Cannot write {shown(path)}: {error.strerror}.") from error
    try:
        yield known
    finally:
        if known:
            fcntl.flock(held, fcntl.LOCK_UN)  # workers that were forked have it too
        os.close(held)


def _take(held: int, what: str) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return False
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        by = os.read(held, 200).decode(errors="replace").strip()
        raise UserError(
            f"{shown(what)} is in use{f' by {by}' if by else ''}: wait for its end, or stop it first."
        ) from None
