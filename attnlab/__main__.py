"""The `attnlab` command."""

import gc
import signal
import sys

#: Objects made before the garbage collector looks for cycles: its default of 700 costs a short run a twentieth.
GARBAGE_THRESHOLD = 100_000


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        if sys.argv[1:] == ["--version"] and said_version():
            return 0
        gc.set_threshold(GARBAGE_THRESHOLD)
        from attnlab.cli.app import run_app
        from attnlab.cli.failures import STOPPING

        code = run_app(sys.argv[1:])
    except KeyboardInterrupt:  # before run_app could take care of it
        if sys.stderr is not None:
            sys.stderr.write("attnlab: error: interrupted: nothing had begun\n")
        return 128 + signal.SIGINT
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # the exit code stands
    gc.freeze()  # at exit the interpreter would look for cycles in everything once more: an eighth of a short run
    return code


def said_version() -> bool:
    """Print the version before anything else is imported, for scripts ask it often; False if that did not work."""
    import attnlab

    try:
        sys.stdout.write(f"attnlab {attnlab.__version__}\n")
        sys.stdout.flush()
    except (OSError, AttributeError):  # full, or closed and None: the command line itself says so
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
