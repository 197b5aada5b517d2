"""The page of providers says what the rows say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_table_of_providers_is_fresh() -> None:
    told = subprocess.run(
        [sys.executable, ROOT / "scripts" / "provider-table", "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (0, ""), told.stderr
