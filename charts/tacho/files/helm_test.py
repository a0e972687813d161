"""What `helm test` asks: whether an operator is ready, and whether the API server serves LLMDeployments.

python3 helm_test.py ADDRESS_OF_READYZ PATH_OF_THE_API
"""

import os
import ssl
import sys
import time
import urllib.error
import urllib.request

PATIENCE_SECONDS = 60
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def ask(url: str, token: str = "", authority: str = "") -> str:
    """Waits for an answer of status 200. Returns why there was none; "" where there was one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    context = ssl.create_default_context(cafile=authority) if authority else None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the chart's own addresses
            with urllib.request.urlopen(request, timeout=5, context=context):  # noqa: S310 - the same
                return ""
        except urllib.error.HTTPError as error:
            why = f"{error.code} {error.read(300).decode(errors='replace').strip()}"
        except OSError as error:
            why = str(error)
        if time.monotonic() > deadline:
            return why
        time.sleep(1)


def main(readiness: str, path: str) -> int:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    with open(f"{ACCOUNT}/token") as file:
        token = file.read()
    asked = (
        ("The operator is not ready", ask(readiness)),
        ("LLMDeployments are not served", ask(f"https://{host}:{port}{path}", token, f"{ACCOUNT}/ca.crt")),
    )
    failed = [f"{what}: {why}" for what, why in asked if why]
    print("\n".join(failed) or "An operator is ready, and LLMDeployments are served.")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
