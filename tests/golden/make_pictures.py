"""Draw the pictures of README.md and docs/ anew.

    python -m tests.golden.make_pictures [MINILM]

Run it from the repository's root. One picture is of a real model, sentence-transformers/all-MiniLM-L6-v2, which is no
part of this repository: it is drawn where the model's folder is given, and else left as it is.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).parent / "readme"
#: What draws each; the picture is the figure of the same name.
COMMANDS = {
    "attention.png": ["run"],
    "variance.png": ["variance"],
    "gradient.png": ["gradient"],
    "roles.png": ["diagram", "roles"],
}
#: The same, with the model's folder behind it.
OF_A_MODEL = {"heads.png": ["inspect"]}


def draw(name: str, arguments: list[str]) -> None:
    """Run a command, and take the figure of that name out of what it writes."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        subprocess.run([sys.executable, "-m", "attnlab", *arguments, "--quiet", "--out", str(out)], check=True)
        shutil.copyfile(out / name, FOLDER / name)
    print(f"{name}: drawn by attnlab {' '.join(arguments)}")


def main(model: list[str]) -> None:
    for name, arguments in COMMANDS.items():
        draw(name, arguments)
    for name, arguments in OF_A_MODEL.items():
        if model:
            draw(name, [*arguments, model[0]])
        else:
            print(f"{name}: left as it is; give the folder of all-MiniLM-L6-v2 to draw it")


if __name__ == "__main__":
    main(sys.argv[1:])
