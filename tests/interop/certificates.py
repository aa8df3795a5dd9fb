"""A certificate authority of our own, by the openssl program: relays and
services of the tests show certificates that nobody else has."""

import hashlib
import ssl
import subprocess
from pathlib import Path

from harness import needs


class Certificate:
    """Key, certificate and both in one file, all PEM."""

    def __init__(self, key, chain, both):
        self.key, self.chain, self.both = key, chain, both

    def der(self):
        """The certificate itself, as it is on the wire."""
        return ssl.PEM_cert_to_DER_cert(self.chain.read_text())

    def sha256(self):
        return hashlib.sha256(self.der()).hexdigest()

    def sha1(self):
        """PageKite's pins are SHA-1 sums of the DER certificate."""
        return hashlib.sha1(self.der()).hexdigest()


class Authority:
    """Signs certificates; `roots` is what a client has to trust."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.key = self.directory / "authority.key"
        self.roots = self.directory / "authority.pem"
        self._openssl(
            "req", "-x509", *self._new_key(self.key), "-out", self.roots, "-days", "30",
            "-subj", "/CN=Kitelet test authority",
            "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )

    def issue(self, *names):
        """A server certificate for the given DNS names."""
        stem = self.directory / names[0].replace("*", "any")
        key, request, chain = (stem.with_name(f"{stem.name}.{end}") for end in ("key", "csr", "crt"))
        extensions = stem.with_name(f"{stem.name}.ext")
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\n"
            "extendedKeyUsage=serverAuth\n"
            f"subjectAltName={','.join('DNS:' + name for name in names)}\n"
        )
        self._openssl("req", *self._new_key(key), "-out", request, "-subj", f"/CN={names[0]}")
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.roots, "-CAkey", self.key, "-CAcreateserial",
            "-days", "30", "-extfile", extensions, "-out", chain,
        )
        both = stem.with_name(f"{stem.name}.pem")
        both.write_text(key.read_text() + chain.read_text())
        both.chmod(0o600)
        return Certificate(key, chain, both)

    @staticmethod
    def _new_key(path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]

    @staticmethod
    def _openssl(*arguments):
        done = subprocess.run(
            [needs("openssl"), *map(str, arguments)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise AssertionError(f"openssl {arguments[0]}: {done.stderr}")
