"""Shared fixtures; small builders are in helpers.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# Nothing is downloaded, and a test that tried would hang where there is no network.
os.environ["HF_HUB_OFFLINE"] = "1"
