"""`package.module:name`: what a user wrote in Python, imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def import_named(text: str) -> Any:
    """What `package.module:name` names, from sys.path or the current folder.

    Running the module is what the user asked for by typing its name: whatever it raises comes out.
    """
    module, _, name = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return getattr(importlib.import_module(module), name)
