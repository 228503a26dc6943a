"""The `attnlab` command."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    if sys.argv[1:] == ["--version"]:  # before anything else is imported: scripts ask this often
        import attnlab

        print(f"attnlab {attnlab.__version__}")
        return 0
    from attnlab.cli.app import run_app

    return run_app(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
