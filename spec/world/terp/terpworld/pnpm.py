"""The tool `pnpm`: runs a script of package.json through the shell, as pnpm does."""
import json
import os
import subprocess
from pathlib import Path


def pnpm(_, arguments):
    if not arguments:
        raise SystemExit("Usage: pnpm SCRIPT")
    try:
        package = json.loads(Path("package.json").read_text())
    except OSError:
        raise SystemExit(f" ERR_PNPM_NO_IMPORTER_MANIFEST_FOUND  No package.json was found in \"{os.getcwd()}\".") from None
    name = arguments[1] if arguments[0] == "run" else arguments[0]
    script = package["scripts"].get(name)
    if not script:
        raise SystemExit(f" ERR_PNPM_NO_SCRIPT  Missing script: {name}")
    print(f"\n> {package['name']}@{package['version']} {name} {os.getcwd()}\n> {script}\n", flush=True)
    code = subprocess.run(script, shell=True, check=False).returncode
    if code:
        print(f" ELIFECYCLE  Command failed with exit code {code}.", flush=True)
    return code
