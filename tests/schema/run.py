"""Cases made from the API's document, against a running service: no 5xx, no answer that the document does not allow.

    python3 tests/schema/run.py [--seconds 60] [--seed 1]

Starts target/release/diptych on an empty store, and installs its own tools under target/schema. `POST /demo` is left out (it
would keep the machine busy for minutes), and so are streams of events (they do not end).
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from service import served, tools

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--seconds", type=int, default=60, help="for how long cases are made")
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    program = tools("schema", HERE / "requirements.txt") / "schemathesis"
    with served("schema") as (folder, url):
        done = subprocess.run(
            [
                *(program, "run", f"{url}/api/v1/openapi.json", "--no-color", "--continue-on-failure"),
                *("--exclude-path", "/api/v1/demo", "--exclude-path-regex", "/events$"),
                *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
                *("--max-time", str(arguments.seconds), "--seed", str(arguments.seed)),
                *("--max-examples", "15", "--warnings", "off"),
            ],
            cwd=folder,
            check=False,
        )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
