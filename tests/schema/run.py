"""Cases made from the API's document, against a running service: no 5xx, no answer that the document does not allow.

    python3 tests/schema/run.py [--seconds 60] [--seed 1]

Starts target/release/diptych on an empty store, and installs its own tools under target/schema. `POST /demo` is left out (it
would keep the machine busy for minutes), and so are streams of events (they do not end).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target/schema"
WANTED = Path(__file__).with_name("requirements.txt")
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]


def tools():
    """The program, installed where it is missing or another version is wanted."""
    stamp = TOOLS / "installed.txt"
    if not stamp.exists() or stamp.read_text() != WANTED.read_text():
        print(f"Installing {WANTED.read_text().strip()} in {TOOLS}", flush=True)
        shutil.rmtree(TOOLS, ignore_errors=True)
        venv.create(TOOLS, with_pip=True)
        subprocess.run([TOOLS / "bin/pip", "install", "--quiet", "--requirement", WANTED], check=True)
        stamp.write_text(WANTED.read_text())
    return TOOLS / "bin/schemathesis"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--seconds", type=int, default=60, help="for how long cases are made")
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    program = tools()
    # An unprivileged Postgres must reach the folder.
    with tempfile.TemporaryDirectory(prefix="diptych-schema-", dir="/tmp") as data:
        Path(data).chmod(0o755)
        command = [ROOT / "target/release/diptych", "serve", "--port", "0", "--data", data]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=open(f"{data}/log", "wb"), text=True) as service:
            try:
                url = service.stdout.readline().strip()
                if not url:
                    sys.exit(f"the service did not start:\n{Path(data, 'log').read_text()}")
                done = subprocess.run(
                    [
                        *(program, "run", f"{url}/api/v1/openapi.json", "--no-color", "--continue-on-failure"),
                        *("--exclude-path", "/api/v1/demo", "--exclude-path-regex", "/events$"),
                        *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
                        *("--max-time", str(arguments.seconds), "--seed", str(arguments.seed)),
                        *("--max-examples", "15", "--warnings", "off"),
                    ],
                    cwd=data,
                    check=False,
                )
            finally:
                service.terminate()
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
