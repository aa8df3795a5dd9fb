"""Real services in the foreground, each in a directory of its own: nginx,
OpenSSH and a VNC server with a picture on it."""

import hashlib
import os
import pwd
import random
import subprocess
from pathlib import Path

from harness import Process, accepts, free_port, needs, wait_until

MEGABYTE = 1024 * 1024


def random_file(path, size):
    """Writes bytes that nothing can compress; returns their SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        left = size
        while left:
            part = os.urandom(min(left, MEGABYTE))
            file.write(part)
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(MEGABYTE):
            digest.update(part)
    return digest.hexdigest()


class _Daemon:
    """A program that listens on one port of loopback."""

    process = None
    port = None

    def start(self):
        self.process.start()
        wait_until(lambda: accepts(self.port) or not self.process.runs(), 15, f"{self.process.name} does not listen")
        if not self.process.runs():
            raise AssertionError(f"{self.process.name} ended: {self.process.log()[-1000:]}")

    def stop(self):
        return self.process.stop()


class Nginx(_Daemon):
    """Serves `files` over HTTP, takes uploads under /upload/ by PUT and packs
    /packed/ on the way, which makes the answer chunked. With a certificate it
    speaks HTTPS on `tls_port` as well, HTTP/2 too."""

    def __init__(self, directory, certificate=None):
        self.directory = Path(directory) / "nginx"
        self.files = self.directory / "files"
        self.uploads = self.files / "upload"
        for path in (self.uploads, self.files / "packed", self.directory / "temporary"):
            path.mkdir(parents=True)
        self.host, self.port = "127.0.0.1", free_port()
        self.tls_port = free_port() if certificate else None
        config = self.directory / "nginx.conf"
        config.write_text(self._config(certificate))
        self.process = Process(
            "nginx", [needs("nginx"), "-c", config, "-p", self.directory, "-e", "stderr"], self.directory / "log"
        )

    def _config(self, certificate):
        listen_tls = certificate and (
            f"listen 127.0.0.1:{self.tls_port} ssl http2;"
            f" ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
        )
        temporary = " ".join(
            f"{kind}_temp_path {self.directory}/temporary/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = f"user {pwd.getpwuid(0).pw_name};" if os.getuid() == 0 else ""
        return f"""
            daemon off; master_process on; worker_processes 1; pid {self.directory}/pid;
            error_log stderr warn; {user}
            events {{ worker_connections 1024; }}
            http {{
                access_log off; {temporary}
                client_max_body_size 1g; keepalive_requests 100000;
                server {{
                    listen {self.host}:{self.port} backlog=512; {listen_tls or ""}
                    root {self.files};
                    location /packed/ {{ gzip on; gzip_types *; gzip_min_length 1; }}
                    location /upload/ {{ dav_methods PUT; }}
                }}
            }}
        """


class NginxStream(_Daemon):
    """Ends TLS before a plain relay, as load balancers do, and takes nothing
    but TLS. `ports` leads from a server name to a port behind; any other name
    leads nowhere."""

    MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def __init__(self, directory, certificate, ports):
        self.directory = Path(directory) / "endpoint"
        self.directory.mkdir()
        self.host, self.port = "localhost", free_port()
        if not self.MODULE.exists():
            raise AssertionError(f"{self.MODULE} is missing: run tests/install")
        names = " ".join(f"{name} 127.0.0.1:{port};" for name, port in ports.items())
        config = self.directory / "nginx.conf"
        config.write_text(f"""
            load_module {self.MODULE};
            daemon off; worker_processes 1; pid {self.directory}/pid; error_log stderr info;
            events {{ worker_connections 256; }}
            stream {{
                map $ssl_server_name $behind {{ {names} default 127.0.0.1:1; }}
                server {{
                    listen 127.0.0.1:{self.port} ssl;
                    ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};
                    proxy_pass $behind;
                }}
            }}
        """)
        self.process = Process(
            "nginx (TLS endpoint)", [needs("nginx"), "-c", config, "-p", self.directory, "-e", "stderr"],
            self.directory / "log",
        )


class Sshd(_Daemon):
    """OpenSSH with host and user keys of its own; logs in whoever runs it."""

    def __init__(self, directory):
        self.directory = Path(directory) / "ssh"
        self.directory.mkdir(mode=0o700)
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        for key in ("host", "user"):
            subprocess.run(
                [needs("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.directory / key], check=True
            )
        (self.directory / "authorized_keys").write_text((self.directory / "user.pub").read_text())
        config = self.directory / "sshd_config"
        config.write_text(f"""
            ListenAddress 127.0.0.1:{self.port}
            HostKey {self.directory}/host
            AuthorizedKeysFile {self.directory}/authorized_keys
            PidFile {self.directory}/pid
            UsePAM no
            StrictModes no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
            PrintMotd no
            MaxStartups 50
            Subsystem sftp internal-sftp
        """)
        if os.getuid() == 0:
            # The directory that Debian's sshd locks its children into.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self.process = Process("sshd", [needs("sshd"), "-D", "-e", "-f", config], self.directory / "log")

    def client_options(self, name, proxy_command=None, config="/dev/null"):
        """Options of ssh and scp for the way to the kite `name`; without a
        command, the way stands in `config`."""
        known = self.directory / "known_hosts"
        known.write_text(f"{name} {(self.directory / 'host.pub').read_text()}")
        settings = {
            "IdentityFile": self.directory / "user",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known,
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "30",
        }
        if proxy_command is not None:
            settings["ProxyCommand"] = proxy_command
        words = ["-F", config]
        for key, value in settings.items():
            words += ["-o", f"{key}={value}"]
        return words


class Vnc(_Daemon):
    """Xtigervnc with noise on its screen: a picture that shows any mistake."""

    WIDTH, HEIGHT = 640, 480

    def __init__(self, directory):
        self.directory = Path(directory) / "vnc"
        self.directory.mkdir()
        self.port = free_port()
        # Display numbers of people at work are small.
        self.display = f":{self.port}"
        self.process = Process(
            "Xtigervnc",
            [
                needs("Xtigervnc"), self.display, "-rfbport", self.port, "-interface", "127.0.0.1",
                "-SecurityTypes", "None", "-geometry", f"{self.WIDTH}x{self.HEIGHT}", "-depth", "24",
                "-nolisten", "tcp", "-NeverShared=0", "-AlwaysShared",
            ],
            self.directory / "log",
        )

    def start(self):
        super().start()
        picture = self.directory / "noise.xbm"
        noise = random.Random(1)
        cells = ", ".join(f"0x{noise.randrange(256):02x}" for _ in range(self.WIDTH * self.HEIGHT // 8))
        picture.write_text(
            f"#define noise_width {self.WIDTH}\n#define noise_height {self.HEIGHT}\n"
            f"static unsigned char noise_bits[] = {{\n{cells} }};\n"
        )
        subprocess.run(
            [needs("xsetroot"), "-display", self.display, "-bitmap", picture, "-fg", "gold", "-bg", "navy"],
            check=True, timeout=30,
        )
