"""Debian packages of another architecture, without touching this machine's apt:
a view of its own (list of sources, indexes, cache) on the mirror and with the
keys that the machine itself is configured for. apt checks the signatures."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Seconds until the lists of packages are read from the mirror again.
LISTS_SECONDS = 86_400
# Seconds that apt may take for lists and for packages; a kernel has 60 MB.
UPDATE_SECONDS, DOWNLOAD_SECONDS = 180, 600


class PackageError(Exception):
    """In words for a person: what is wrong and what to do."""


def cache_folder():
    """Where downloads outlive the clone."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kitelet" / "boot"


@dataclass(frozen=True)
class Mirror:
    """One source of the machine's apt configuration."""

    uri: str
    # The file of keys, or none where apt's own keys are meant.
    signed_by: str
    suites: tuple
    components: tuple


def mirrors(folder=Path("/etc/apt")):
    """The sources of this machine in both formats (sources.list(5))."""
    found = []
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        found += _deb822(path.read_text(errors="replace"))
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            found += _lines(path.read_text(errors="replace"))
    return found


def _deb822(text):
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in text.split("\n\n"):
        fields, name = {}, None
        for line in stanza.splitlines():
            if line[:1].isspace() and name:
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
            continue
        key = fields.get("signed-by", "")
        # A key that stands in the file itself serves its stanza only.
        key = ",".join(key.split()) if key.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            yield Mirror(uri, key, tuple(fields.get("suites", "").split()), tuple(fields.get("components", "").split()))


def _lines(text):
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words[:1] != ["deb"]:
            continue
        key, rest = "", words[1:]
        if rest and rest[0].startswith("["):
            end = next((at for at, word in enumerate(rest) if word.endswith("]")), len(rest) - 1)
            options = " ".join(rest[: end + 1]).strip("[]").split()
            key = next((word.split("=", 1)[1] for word in options if word.startswith("signed-by=/")), "")
            rest = rest[end + 1 :]
        if len(rest) >= 3:
            yield Mirror(rest[0], key, (rest[1],), tuple(rest[2:]))


def debian_mirror():
    """The machine's mirror of Debian's own suites."""
    names = ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable")
    for mirror in mirrors():
        # What lies on this machine is of its own architecture only.
        if mirror.uri.startswith(("cdrom:", "file:")):
            continue
        if "main" in mirror.components and any(suite in names for suite in mirror.suites):
            return mirror
    raise PackageError(
        "no mirror of Debian in /etc/apt/sources.list or /etc/apt/sources.list.d; "
        "packages come from there, so use Debian or add one: "
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] URI bookworm main"
    )


class View:
    """The packages of one suite and architecture. One process at a time uses
    it; others wait."""

    def __init__(self, suite, architecture):
        self.suite, self.architecture = suite, architecture
        self.folder = cache_folder() / f"{suite}-{architecture}"
        self.packages = cache_folder() / "packages"
        # What a reader should know of the lists, if anything.
        self.remark = ""

    def __enter__(self):
        for tool in ("apt-get", "dpkg-deb", "setpriv"):
            if shutil.which(tool) is None:
                raise PackageError(f"{tool} is missing; the packages are Debian's, so use Debian or one of its children")
        for folder in ("lists/partial", "cache/archives/partial", "state"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        self.packages.mkdir(parents=True, exist_ok=True)
        self.lock = (self.folder / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            for left in self.folder.glob("partial-*"):
                shutil.rmtree(left, ignore_errors=True)
            self._configure()
            self._update()
        except BaseException:
            self.lock.close()
            raise
        return self

    def __exit__(self, *_):
        self.lock.close()

    def partial(self):
        """A new folder beside the cache for what is not whole yet; the next
        user of the view removes what an interrupted one left."""
        return Path(tempfile.mkdtemp(prefix="partial-", dir=self.folder))

    def _configure(self):
        mirror = debian_mirror()
        options = f"arch={self.architecture}" + (f" signed-by={mirror.signed_by}" if mirror.signed_by else "")
        (self.folder / "sources.list").write_text(f"deb [{options}] {mirror.uri} {self.suite} main\n")
        (self.folder / "status").write_text("")
        (self.folder / "none").mkdir(exist_ok=True)
        # What runs after an update on this machine is not meant for this view,
        # nor are indexes for software centres.
        (self.folder / "apt.conf").write_text(f"""\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear APT::Architectures;
APT::Architecture "{self.architecture}";
APT::Architectures {{ "{self.architecture}"; }};
APT::Sandbox::User "root";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::Etc::sourcelist "{self.folder}/sources.list";
Dir::Etc::sourceparts "{self.folder}/none";
Dir::Etc::preferences "{self.folder}/none/preferences";
Dir::Etc::preferencesparts "{self.folder}/none";
Dir::State "{self.folder}/state";
Dir::State::lists "{self.folder}/lists";
Dir::State::status "{self.folder}/status";
Dir::Cache "{self.folder}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
""")

    def _apt(self, words, seconds, cwd=None):
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        try:
            # It ends when this program does, however that ends.
            return subprocess.run(
                ["setpriv", "--pdeathsig", "TERM", *words], env=environment, cwd=cwd, capture_output=True, text=True,
                timeout=seconds, check=False, stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise PackageError(f"{words[0]} {words[1]} took more than {seconds} s; is the mirror reachable?") from None

    def _update(self):
        stamp, source = self.folder / "updated", self.folder / "sources.list"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < LISTS_SECONDS and \
                stamp.read_text() == source.read_text():
            return
        done = self._apt(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"], UPDATE_SECONDS)
        if done.returncode == 0:
            stamp.write_text(source.read_text())
            return
        trouble = f"the mirror of this machine's apt gives no list of {self.suite} for {self.architecture} " \
                  f"({_first_error(done)})"
        if not stamp.exists():
            raise PackageError(f"{trouble}; see that `apt-get update` works, and try again")
        day = time.strftime("%Y-%m-%d", time.gmtime(stamp.stat().st_mtime))
        self.remark = f"{trouble}; that of {day} is used"

    def newest(self, name):
        """The version of a package, or None if the suite has none."""
        done = self._apt(["apt-cache", "policy", name], 60)
        for line in done.stdout.splitlines():
            if line.strip().startswith("Candidate:"):
                version = line.split(":", 1)[1].strip()
                return None if version == "(none)" else version
        return None

    def versions(self, name):
        """All versions of a package that the mirror has, the newest first."""
        done = self._apt(["apt-cache", "madison", name], 60)
        rows = ([word.strip() for word in line.split("|")] for line in done.stdout.splitlines())
        return [row[1] for row in rows if len(row) == 3 and row[0] == name]

    def kernel_of(self, name):
        """The kernel that a metapackage stands for, and the packages that it
        is in: one up to Debian 13, several later."""
        kernel = next((one for one in self._depends(name) if one.startswith("linux-image-")), None)
        if kernel is None:
            raise PackageError(f"{name} of {self.suite} for {self.architecture} depends on no kernel")
        others = [one for one in self._depends(kernel) if one.startswith(("linux-binary-", "linux-modules-"))]
        return kernel, [kernel, *others]

    def _depends(self, name):
        done = self._apt(["apt-cache", "depends", name], 60)
        words = (line.strip().partition(": ") for line in done.stdout.splitlines())
        return [needed for word, _, needed in words if word == "Depends"]

    def with_needs(self, *names):
        """Those packages and all that they need, by apt's own choice: names and
        versions."""
        done = self._apt(["apt-get", "install", "-s", "-q", "--no-install-recommends", *names], 120)
        found = [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("Inst ")]
        if done.returncode != 0 or not found:
            raise PackageError(
                f"{self.suite} for {self.architecture} lacks something of {' '.join(names)} ({_first_error(done)})"
            )
        return [(name.split(":")[0], version.strip("()")) for name, version in found]

    def deb(self, name, version=None):
        """The file of a package, from the cache or the mirror; the newest one if
        none of `versions` is named."""
        version = version or self.newest(name)
        if version is None:
            raise PackageError(f"{self.suite} for {self.architecture} has no package {name}")
        # As apt calls its files.
        path = self.packages / f"{name}_{version.replace(':', '%3a')}_{self.architecture}.deb"
        if path.exists():
            return path
        folder = self.partial()
        try:
            done = self._apt(["apt-get", "download", "-q", f"{name}={version}"], DOWNLOAD_SECONDS, cwd=folder)
            loaded = list(folder.glob("*.deb"))
            if done.returncode != 0 or len(loaded) != 1:
                # The mirror may have another version by now.
                (self.folder / "updated").unlink(missing_ok=True)
                raise PackageError(
                    f"{name} {version} cannot be had from the mirror ({_first_error(done)}); "
                    "see that `apt-get update` works, and try again"
                )
            loaded[0].replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return path


def _first_error(done):
    """What apt says first of why it failed, in a line."""
    lines = (done.stderr + done.stdout).splitlines()
    errors = [line for line in lines if line.startswith(("E:", "Err:"))] or lines[-1:]
    return errors[0][:200] if errors else "apt says nothing"
