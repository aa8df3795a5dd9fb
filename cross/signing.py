"""Signatures of releases, by OpenSSH's `ssh-keygen -Y`: it is everywhere, asks for
a passphrase or a security key by itself, and its namespaces keep a signature made
for something else from being taken for a release."""

import re
import subprocess

from problem import Problem

NAMESPACE = "kitelet-release"


def ssh_keygen(*words, given=None, listening=False):
    """Runs ssh-keygen; `listening`: it may ask for a passphrase."""
    try:
        return subprocess.run(["ssh-keygen", *map(str, words)], input=given,
                              stdin=None if given is not None or listening else subprocess.DEVNULL,
                              capture_output=True, check=False)
    except OSError as error:
        raise Problem(f"cannot run ssh-keygen: {error.strerror}; install OpenSSH's client") from error


def last_line(output):
    """The last thing that a program said, or that it said nothing."""
    return next(iter(reversed(output.decode(errors="replace").strip().splitlines())), "no reason given")


def sign(key, sums, allowed):
    """Signs the file of sums, leaves `SUMS.sig` beside it, and verifies that as a
    user does. Answers who signed. `key` may be a public key, whose other half
    ssh-agent or a security key holds."""
    done = ssh_keygen("-q", "-Y", "sign", "-n", NAMESPACE, "-f", key, sums, listening=True)
    signature = sums.with_name(sums.name + ".sig")
    if done.returncode or not signature.exists():
        raise Problem(f"{key} does not sign: {last_line(done.stderr)}")
    found = ssh_keygen("-Y", "find-principals", "-s", signature, "-f", allowed)
    signers = found.stdout.decode(errors="replace").split()
    if found.returncode or not signers:
        raise Problem(f"the key {key} is not in {allowed}, so nobody could verify the release; add a line to that "
                      f"file as its first lines say, and commit it")
    # A file of ours; whatever it holds does not become an option.
    signer = signers[0]
    if not re.fullmatch(r"[A-Za-z0-9._+@][A-Za-z0-9._+@-]*", signer):
        raise Problem(f"{allowed} names a signer {signer!r}; write an address such as release@example.com")
    done = ssh_keygen("-Y", "verify", "-f", allowed, "-I", signer, "-n", NAMESPACE, "-s", signature,
                      given=sums.read_bytes())
    if done.returncode:
        raise Problem(f"the signature cannot be verified with {allowed}: {last_line(done.stderr or done.stdout)}")
    return signer
