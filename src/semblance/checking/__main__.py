"""The process that `check` starts."""

import sys
from multiprocessing.connection import Connection

from semblance.checking.check import coordinate

if __name__ == "__main__":
    coordinate(Connection(int(sys.argv[1])))
