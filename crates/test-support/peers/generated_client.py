"""Makes a client from our OpenAPI text, with openapi-python-client."""

import importlib
import json
import pathlib
import subprocess
import sys

# A directory to work in, and the address of the service.
place, address = pathlib.Path(sys.argv[1]), sys.argv[2]


def generate(path):
    """The models and the client of the text at this path, and what finds the module of an operation by its tag and name."""
    config = place / "config.json"
    config.write_text(json.dumps({"post_hooks": [], "literal_enums": True}))
    generated = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--url", f"{address}{path}",
         "--output-path", str(place / "generated"), "--meta", "none", "--config", str(config), "--fail-on-warning"],
        capture_output=True, text=True)
    if generated.returncode != 0:
        sys.exit(generated.stdout + generated.stderr)
    sys.path.insert(0, str(place))
    client = importlib.import_module("generated").Client(base_url=address)
    return importlib.import_module("generated.models"), client, lambda name: importlib.import_module(f"generated.api.{name}")
