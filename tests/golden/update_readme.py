"""Set the ```console blocks of README.md and docs/ anew from what the commands print now.

    python -m tests.golden.update_readme [PAGE…]

Run it from the repository's root. Blocks that still hold stay as they are. `tests/readme_blocks.py` says what a block
is and when it holds; the parts of docs/reference that come from the code are `tests.golden.make_reference`'s.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.commands import ROOT
from tests.readme_blocks import PAGES, rewritten


def main(pages: Sequence[Path]) -> None:
    for page in pages:
        before = page.read_text(encoding="utf-8")
        after = rewritten(before)
        page.write_text(after, encoding="utf-8")
        print(f"{page.absolute().relative_to(ROOT)}: {'as it was' if after == before else 'updated'}", flush=True)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or PAGES)
