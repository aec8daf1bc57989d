"""Where `semblance` starts: errors without tracebacks, and Ctrl-C or SIGTERM at any moment."""

import os
import signal
import sys

from semblance.errors import UserError
from semblance.shown import shown


def main() -> None:
    """Entry point of `semblance`. Ends with 2 after a mistake of the user, with 130 after Ctrl-C or SIGTERM."""
    stops: list[int] = []

    def stop(number: int, frame: object) -> None:
        stops.append(number)
        if number == signal.SIGTERM:  # which launchers send more than once
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        from semblance.cli import run  # within, since imports take a while
        from semblance.runtime.terminal import take_any_text

        take_any_text()
        run()
        _leave(0)
    except UserError as error:
        print(*(f"semblance: {line}" for line in str(error).split("\n")), sep="\n", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # of `semblance methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"semblance: {shown(os.fsdecode(error.filename))}: {error.strerror}.", file=sys.stderr)  # too long a name
        sys.exit(2)
    except (KeyboardInterrupt, Exception) as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to be stopped
        if not stops and not isinstance(error, KeyboardInterrupt):
            raise  # an import that Ctrl-C breaks may fail otherwise
        if not error.args or not isinstance(error, KeyboardInterrupt):  # else the run has said how to go on
            print("semblance: stopped.", file=sys.stderr)
        _leave(130)
        sys.exit(130)


def _leave(status: int) -> None:
    """The end of one of several processes, if this is one."""
    if (launch := sys.modules.get("semblance.runtime.launch")) is not None:
        launch.leave(status)


if __name__ == "__main__":
    main()
