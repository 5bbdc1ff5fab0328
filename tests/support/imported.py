"""What a statement imports, seen from a fresh process."""

import subprocess
import sys

from tests.conftest import REPOSITORY


def loaded_after(statement: str) -> set[str]:
    """Return the names of all modules that are loaded after this statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    return set(done.stdout.splitlines()[-1].split())
