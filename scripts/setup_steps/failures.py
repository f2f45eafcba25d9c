"""From the log of a command that failed to the one line that says what to do."""

from collections.abc import Sequence
from pathlib import Path

TAIL_BYTES = 200_000
NO_SPACE = ("No space left on device", "Errno 28", "Disk quota exceeded", "enough free space")
NO_NETWORK = (
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Name or service not known",
    "Connection refused",
    "Connection reset by peer",
    "Could not connect to",
    "Unable to connect to",
    "Could not resolve",
    "Network is unreachable",
    "No route to host",
    "Read timed out",
    "ConnectTimeoutError",
    "ProxyError",
    "Cannot initiate the connection",
)
NO_TRUST = ("SSLError", "CERTIFICATE_VERIFY_FAILED")
NO_VERSION = ("No matching distribution found", "Could not find a version that satisfies")
NO_PACKAGE = ("Unable to locate package", "has no installation candidate")


def no_rights(packages: Sequence[str]) -> str:
    names = " ".join(packages)
    return f"{names} must be installed and this user may not do it; run: sudo apt-get install {names}"


def apt_failed(log: Path, packages: Sequence[str]) -> str:
    names = " ".join(packages)
    if _says(log, NO_SPACE):
        return f"the disk is full, so apt-get could not install {names}; make room and run scripts/setup again"
    if _says(log, NO_NETWORK + NO_PACKAGE):
        return f"apt-get cannot reach a server that has {names}; connect this machine to the network, or install them yourself"
    return f"apt-get could not install {names}; its messages are in {log}"


def environment_failed(log: Path, python: str) -> str:
    if _says(log, NO_SPACE):
        return "the disk is full, so the environment could not be made; make room and run scripts/setup again"
    return f"{python} could not make an environment; its messages are in {log}"


def pip_failed(log: Path, venv: Path) -> str:
    if _says(log, NO_SPACE):
        return f"the disk is full: pip could not finish {venv}; make room, or name a folder on a larger disk in WORLDAGEN_VENV"
    if _says(log, NO_TRUST):
        return (
            f"pip does not trust the certificate of its package index; name the right one in PIP_CERT (pip's messages: {log})"
        )
    if _says(log, NO_NETWORK):
        return f"pip cannot reach its package index; connect this machine to the network (pip's messages: {log})"
    if _says(log, NO_VERSION):
        return f"pip's package index lacks a package that is needed; check pip's index settings (its messages: {log})"
    return f"pip failed; run scripts/setup again, and if that does not help read {log}"


def build_failed(log: Path) -> str:
    if _says(log, NO_SPACE):
        return f"the disk is full, so the ROS workspace could not be built; make room and run scripts/setup again (log: {log})"
    return f"colcon could not build the ROS workspace; the compiler's messages are in {log}"


def _says(log: Path, phrases: Sequence[str]) -> bool:
    """Whether the newest command in the log, the part after its last `$ ` line, used one of the phrases."""
    try:
        text = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return False
    newest = text.rsplit("\n$ ", 1)[-1]
    return any(phrase in newest for phrase in phrases)
