"""A Python client that a generator makes of the API's document curates through a running service.

    python3 tests/client/run.py

Starts target/release/diptych on an empty store, generates the client from server/openapi.json, and runs `curation.py` with
it. Installs its own tools under target/client.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
TOOLS = ROOT / "target/client"
WANTED = HERE / "requirements.txt"


def tools():
    """Where programs are, installed where they are missing or other versions are wanted."""
    stamp = TOOLS / "installed.txt"
    if not stamp.exists() or stamp.read_text() != WANTED.read_text():
        print(f"Installing {', '.join(WANTED.read_text().split())} in {TOOLS}", flush=True)
        shutil.rmtree(TOOLS, ignore_errors=True)
        venv.create(TOOLS, with_pip=True)
        subprocess.run([TOOLS / "bin/pip", "install", "--quiet", "--requirement", WANTED], check=True)
        stamp.write_text(WANTED.read_text())
    return TOOLS / "bin"


def main():
    programs = tools()
    # An unprivileged Postgres must reach the folder.
    with tempfile.TemporaryDirectory(prefix="diptych-client-", dir="/tmp") as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        client = folder / "client/diptych_client"
        client.parent.mkdir()
        generated = subprocess.run(
            [programs / "openapi-python-client", "generate", "--path", ROOT / "server/openapi.json", "--output-path", client,
             "--overwrite", "--meta", "none", "--config", HERE / "generator.yaml"],
            capture_output=True, text=True,
        )  # fmt: skip
        if generated.returncode:
            sys.exit(generated.stdout + generated.stderr)
        data = folder / "data"
        command = [ROOT / "target/release/diptych", "serve", "--port", "0", "--data", data]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=open(folder / "log", "wb"), text=True) as service:
            try:
                url = service.stdout.readline().strip()
                if not url:
                    sys.exit(f"the service did not start:\n{(folder / 'log').read_text()}")
                environment = {**os.environ, "PYTHONPATH": str(client.parent), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
                done = subprocess.run([programs / "python", HERE / "curation.py", url, folder], env=environment, check=False)
            finally:
                service.terminate()
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
