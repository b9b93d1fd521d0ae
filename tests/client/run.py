"""A Python client that a generator makes of the API's document curates through a running service.

    python3 tests/client/run.py

Starts target/release/diptych on an empty store, generates the client from server/openapi.json, and runs `curation.py` with
it. Installs its own tools under target/client.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from service import ROOT, served, tools


def main():
    programs = tools("client", HERE / "requirements.txt")
    with served("client") as (folder, url):
        client = folder / "client/diptych_client"
        client.parent.mkdir()
        generated = subprocess.run(
            [programs / "openapi-python-client", "generate", "--path", ROOT / "server/openapi.json", "--output-path", client,
             "--overwrite", "--meta", "none", "--config", HERE / "generator.yaml"],
            capture_output=True, text=True,
        )  # fmt: skip
        if generated.returncode:
            sys.exit(generated.stdout + generated.stderr)
        environment = {**os.environ, "PYTHONPATH": str(client.parent), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run([programs / "python", HERE / "curation.py", url, folder], env=environment, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
