"""What the Python checks share: tools installed under target/, and a running service on an empty store."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tools(name, wanted):
    """Folder of the programs that the file `wanted` lists, installed where they are missing or other versions are wanted."""
    folder, text = ROOT / "target" / name, wanted.read_text()
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != text:
        print(f"Installing {', '.join(text.split())} in {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--requirement", wanted], check=True)
        stamp.write_text(text)
    return folder / "bin"


@contextlib.contextmanager
def served(name):
    """A folder of one's own, and the address of target/release/diptych that serves an empty store in it."""
    # An unprivileged Postgres must reach the folder.
    with tempfile.TemporaryDirectory(prefix=f"diptych-{name}-", dir="/tmp") as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        command = [ROOT / "target/release/diptych", "serve", "--port", "0", "--data", folder / "data"]
        with open(folder / "log", "wb") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as service:
            try:
                url = service.stdout.readline().strip()
                if not url:
                    sys.exit(f"the service did not start:\n{(folder / 'log').read_text()}")
                yield folder, url
            finally:
                service.terminate()
