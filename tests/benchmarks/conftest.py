"""Puts the project's root at the end of the path, where it hides no installed package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
