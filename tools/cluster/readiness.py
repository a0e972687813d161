"""Asking an API server whether it is ready, with nothing but the standard library."""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from tools.cluster.certs import KeyPair


def api_server_ready(url: str, authority: Path, client: KeyPair) -> bool:
    """Whether /readyz of the API server answers 200."""
    address = urlsplit(url)
    trust = ssl.create_default_context(cafile=str(authority))
    trust.load_cert_chain(str(client.certificate), str(client.key))
    connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=2, context=trust)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
