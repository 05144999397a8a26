"""Every example runs as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_makes_its_picture(path, tmp_path):
    picture = tmp_path / "picture.png"
    subprocess.run([sys.executable, str(path), str(picture)], check=True, cwd=tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
