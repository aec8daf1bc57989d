"""A lock on a folder that ends with the process that holds it, however that ends."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semblance.errors import CannotWrite, UserError

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def locked(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock at `path` within; a UserError where another process does, on this host or another.

    A POSIX record lock: freed by the end of the process, not inherited by its workers, known to network disks.
    Yields whether the disk has locks at all. what: the thing that it guards, for the error.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise CannotWrite(f"Cannot write {path}: {error.strerror}.") from error
    try:
        yield _take(held, what)
    finally:
        os.close(held)


def _take(held: int, what: str) -> bool:
    try:
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return False
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        by = os.read(held, 200).decode(errors="replace").strip()
        raise UserError(f"{what} is in use{f' by {by}' if by else ''}: wait for its end, or stop it first.") from None
    os.ftruncate(held, 0)
    os.write(held, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return True
