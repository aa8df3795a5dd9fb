"""The bill of materials of one binary, as CycloneDX 1.5 in JSON.

Own lines, because cargo-cyclonedx asks `cargo metadata`, which does not resolve
features as a build does (see crates.py): its bill of the agent would hold the
crates of the relay."""

import functools
import json
import re
import subprocess
import uuid
from datetime import datetime, timezone
from pathlib import Path

from problem import Problem

SPECIFICATION = "1.5"
# The namespace of the serial numbers; drawn once.
NAMESPACE = uuid.UUID("5a1b0c1e-6f57-4c0a-9d5e-0a6c8e1f7b42")
# The C library of the release of zig that cross/build uses.
MUSL = "1.2.5"
PURL_ALLOWED = re.compile(r"[^A-Za-z0-9.~_-]")


def purl(kind, name, version):
    """A package URL (github.com/package-url/purl-spec); the few special characters
    that versions have, such as `+`, are escaped."""
    escaped = PURL_ALLOWED.sub(lambda character: f"%{ord(character[0]):02X}", version)
    return f"pkg:{kind}/{name}@{escaped}"


@functools.cache
def rust_version():
    """The version of rustc, and so of its standard library."""
    try:
        done = subprocess.run(["rustc", "--version"], cwd=Path(__file__).parent, capture_output=True,
                              text=True, check=True)
        return done.stdout.split()[1]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise Problem(f"cannot ask rustc for its version: {error}") from error


def component(crate):
    """One crate, in the words of CycloneDX."""
    reference = purl("cargo", *crate.key)
    described = {
        "type": "library",
        "bom-ref": reference,
        "name": crate.name,
        "version": crate.version,
        # "excluded" is what a binary is built with and does not contain.
        "scope": "required" if crate.linked else "excluded",
        "hashes": [{"alg": "SHA-256", "content": crate.checksum}],
        "licenses": [{"expression": crate.licence}],
        "purl": reference,
    }
    if crate.repository:
        described["externalReferences"] = [{"type": "vcs", "url": crate.repository}]
    return described


def other(name, version, licence):
    """A part of the binary that is no crate of a registry."""
    reference = purl("generic", name, version)
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "scope": "required",
            "licenses": [{"expression": licence}], "purl": reference}


def bill(flavour, target, crates, commit, seconds, sha256):
    """The bill of the binary with that SHA-256, as bytes. `seconds` since 1970 is
    the time of the commit."""
    ours, *others = crates.values()
    reference = purl("generic", flavour, ours.version)
    rust = other("rust-std", rust_version(), "MIT OR Apache-2.0")
    musl = other("musl", MUSL, "MIT")
    needs = {reference: sorted([purl("cargo", *key) for key in ours.needs] + [rust["bom-ref"], musl["bom-ref"]])}
    for crate in others:
        needs[purl("cargo", *crate.key)] = sorted(purl("cargo", *key) for key in crate.needs)
    needs[rust["bom-ref"]] = [musl["bom-ref"]]
    needs[musl["bom-ref"]] = []
    serial = uuid.uuid5(NAMESPACE, f"{flavour} {ours.version} {target.triple} {commit} {sha256}")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": reference,
                "name": flavour,
                "version": ours.version,
                "hashes": [{"alg": "SHA-256", "content": sha256}],
                "licenses": [{"expression": ours.licence}],
                "purl": reference,
                "properties": [
                    {"name": "kitelet:commit", "value": commit},
                    {"name": "kitelet:target", "value": target.triple},
                ],
            },
        },
        "components": [*(component(crate) for crate in others), rust, musl],
        "dependencies": [{"ref": name, "dependsOn": wanted} for name, wanted in sorted(needs.items())],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
