"""The cluster's certificates, made by the openssl program: elliptic keys, one authority, valid 30 days."""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.errors import ToolMissingError

VALID_DAYS = 30


@dataclass(frozen=True)
class KeyPair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


def _openssl(*arguments: str | Path) -> None:
    if shutil.which("openssl") is None:
        raise ToolMissingError("openssl is not installed", "Run `apt-get install openssl`")
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder, and the key pairs it signs there."""

    def __init__(self, folder: Path) -> None:
        """Makes the authority when the folder has none."""
        self.folder = folder
        self.pair = self._files("ca")
        if self.pair.certificate.exists():
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.new_key(self.pair.key)
        subject, days = "/CN=tacho-test-ca", str(VALID_DAYS)
        request = ("req", "-x509", "-new", "-key", self.pair.key, "-subj", subject, "-days", days)
        _openssl(*request, "-out", self.pair.certificate)

    def _files(self, name: str) -> KeyPair:
        return KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def new_key(self, path: Path) -> None:
        """Writes a new elliptic private key."""
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)

    def client(self, name: str, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """A client certificate: `user` and `groups` as the API server reads them."""
        return self._signed(name, user, groups, "extendedKeyUsage=clientAuth\n")

    def server(self, name: str, user: str, hosts: Iterable[str], groups: Iterable[str] = ()) -> KeyPair:
        """A serving (and client) certificate for these IP addresses and DNS names."""
        names = ",".join(("IP:" if _is_address(host) else "DNS:") + host for host in hosts)
        return self._signed(
            name, user, groups, f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={names}\n"
        )

    def _signed(self, name: str, user: str, groups: Iterable[str], extensions: str) -> KeyPair:
        pair = self._files(name)
        if pair.certificate.exists():
            return pair
        request, extension_file = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extension_file.write_text(f"basicConstraints=CA:FALSE\n{extensions}")
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        self.new_key(pair.key)
        _openssl("req", "-new", "-key", pair.key, "-subj", subject, "-out", request)
        authority = ("-CA", self.pair.certificate, "-CAkey", self.pair.key, "-CAcreateserial")
        signing = ("x509", "-req", "-in", request, *authority, "-days", str(VALID_DAYS))
        _openssl(*signing, "-extfile", extension_file, "-out", pair.certificate)
        return pair


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host
