"""The `attnlab` command."""

import gc
import sys

#: Objects made before the garbage collector looks for cycles: its default of 700 costs a short run a twentieth.
GARBAGE_THRESHOLD = 20_000


def main() -> int:
    """Run the command line and return its exit code."""
    if sys.argv[1:] == ["--version"]:  # before anything else is imported: scripts ask this often
        import attnlab

        print(f"attnlab {attnlab.__version__}")
        return 0
    gc.set_threshold(GARBAGE_THRESHOLD)
    from attnlab.cli.app import run_app

    code = run_app(sys.argv[1:])
    gc.freeze()  # at exit the interpreter would look for cycles in everything once more: an eighth of a short run
    return code


if __name__ == "__main__":
    sys.exit(main())
