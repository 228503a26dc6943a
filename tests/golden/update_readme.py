"""Set README.md's ```console blocks anew from what the commands print now; blocks that still hold stay as they are.

    python -m tests.golden.update_readme

Run it from the repository's root. `tests/readme_blocks.py` says what a block is and when it holds.
"""

from tests.readme_blocks import README, rewritten


def main() -> None:
    before = README.read_text(encoding="utf-8")
    after = rewritten(before)
    README.write_text(after, encoding="utf-8")
    print(f"{README.name}: {'as it was' if after == before else 'updated'}")


if __name__ == "__main__":
    main()
