"""Writes the custom resource definitions into crds/: `python -m litevoice_operator.crdgen [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from litevoice_operator.api.definitions import definitions

FOLDER = Path(__file__).resolve().parents[2] / "crds"
HEADER = "# Generated from the models in operator/litevoice_operator/api by `make crds`; do not edit.\n"


class _NoAliases(yaml.SafeDumper):
    """Repeated parts are written out: not every reader of a CRD understands YAML aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - overrides
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    check = parser.parse_args().check
    differing = []
    for name, definition in definitions().items():
        text = HEADER + yaml.dump(definition, Dumper=_NoAliases, sort_keys=False, width=120, allow_unicode=True)
        path = FOLDER / name
        if path.is_file() and path.read_text() == text:
            continue
        differing.append(name)
        if not check:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text)
    if check and differing:
        sys.stderr.write(f"crds/: {', '.join(differing)}: out of date; run `make crds`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
