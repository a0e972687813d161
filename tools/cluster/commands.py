"""The command lines of the control plane's programs. Pure: paths and ports in, arguments out."""

from dataclasses import dataclass
from pathlib import Path

from tools.cluster.certs import Authority, KeyPair
from tools.cluster.paths import HERE

DOMAIN = "cluster.local"
NODE_GRACE_SECONDS = 30
"""Kubernetes' 50 leave room for connections that die silently."""
NODE_LEASE_SECONDS = 20
"""A kubelet says so each quarter of it: six times before it is given up."""


@dataclass(frozen=True)
class Layout:
    """Addresses, ports and files of one control plane."""

    directory: Path
    bind_address: str
    advertise_address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    service_cidr: str
    service_address: str
    """The first address of `service_cidr`: the Service `kubernetes`."""
    publish_endpoint: bool
    """Whether the Service `kubernetes` gets the API server's address; loopback is refused there."""

    @property
    def url(self) -> str:
        """Where clients on this machine reach the API server."""
        return f"https://{self.advertise_address}:{self.api_port}"

    @property
    def audit_log(self) -> Path:
        """Where the API server writes its audit log."""
        return self.directory / "audit.log"


@dataclass(frozen=True)
class Credentials:
    """The key pairs of one control plane."""

    authority: Authority
    api_server: KeyPair
    etcd: KeyPair
    admin: KeyPair
    kubelet_client: KeyPair
    front_proxy: KeyPair
    service_account_key: Path


def make_credentials(layout: Layout) -> Credentials:
    """Makes, or finds again, the certificates in the cluster's folder."""
    authority = Authority(layout.directory / "pki")
    service = "kubernetes.default.svc"
    names = ["localhost", "kubernetes", "kubernetes.default", service, f"{service}.{DOMAIN}"]
    addresses = {"127.0.0.1": None, layout.advertise_address: None, layout.service_address: None}
    key = authority.folder / "service-account.key"
    if not key.exists():
        authority.new_key(key)
    return Credentials(
        authority=authority,
        api_server=authority.server("apiserver", "kube-apiserver", [*names, *addresses]),
        etcd=authority.server("etcd", "etcd", ["localhost", "127.0.0.1"]),
        admin=authority.client("admin", "tacho-admin", ["system:masters"]),
        kubelet_client=authority.client(
            "apiserver-kubelet", "kube-apiserver-kubelet-client", ["system:masters"]
        ),
        front_proxy=authority.client("front-proxy", "front-proxy-client"),
        service_account_key=key,
    )


def etcd(layout: Layout, credentials: Credentials) -> list[str]:
    """etcd with mutual TLS on loopback. Without fsync: a test cluster is never recovered."""
    client, peer = (f"https://127.0.0.1:{port}" for port in (layout.etcd_port, layout.etcd_peer_port))
    pair, ca = credentials.etcd, credentials.authority.pair.certificate
    return [
        "--name=tacho",
        f"--data-dir={layout.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=tacho={peer}",
        f"--cert-file={pair.certificate}",
        f"--key-file={pair.key}",
        f"--trusted-ca-file={ca}",
        "--client-cert-auth",
        f"--peer-cert-file={pair.certificate}",
        f"--peer-key-file={pair.key}",
        f"--peer-trusted-ca-file={ca}",
        "--peer-client-cert-auth",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(layout: Layout, credentials: Credentials) -> list[str]:
    """kube-apiserver: RBAC, Node and Pod Security enforced, every request audited."""
    ca, key = credentials.authority.pair.certificate, credentials.service_account_key
    arguments = [
        f"--etcd-servers=https://127.0.0.1:{layout.etcd_port}",
        f"--etcd-cafile={ca}",
        f"--etcd-certfile={credentials.etcd.certificate}",
        f"--etcd-keyfile={credentials.etcd.key}",
        f"--bind-address={layout.bind_address}",
        f"--advertise-address={layout.advertise_address}",
        f"--secure-port={layout.api_port}",
        f"--tls-cert-file={credentials.api_server.certificate}",
        f"--tls-private-key-file={credentials.api_server.key}",
        f"--client-ca-file={ca}",
        f"--service-cluster-ip-range={layout.service_cidr}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-certificate-authority={ca}",
        f"--kubelet-client-certificate={credentials.kubelet_client.certificate}",
        f"--kubelet-client-key={credentials.kubelet_client.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={ca}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={credentials.front_proxy.certificate}",
        f"--proxy-client-key-file={credentials.front_proxy.key}",
        f"--audit-policy-file={HERE / 'audit-policy.yaml'}",
        f"--audit-log-path={layout.audit_log}",
        "--allow-privileged=true",
        "--profiling=false",
    ]
    return arguments if layout.publish_endpoint else [*arguments, "--endpoint-reconciler-type=none"]


def controller_manager(
    kubeconfig: Path,
    credentials: Credentials,
    *,
    node_grace_seconds: int = NODE_GRACE_SECONDS,
    collects: bool = True,
) -> list[str]:
    """kube-controller-manager, quick to bind claims and to autoscale. ``node_grace_seconds``: without a word
    from its kubelet a node is lost. ``collects``: with the garbage collector."""
    ca = credentials.authority.pair
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={credentials.service_account_key}",
        f"--root-ca-file={ca.certificate}",
        f"--cluster-signing-cert-file={ca.certificate}",
        f"--cluster-signing-key-file={ca.key}",
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--pvclaimbinder-sync-period=5s",
        f"--node-monitor-grace-period={node_grace_seconds}s",
        f"--enable-garbage-collector={str(collects).lower()}",
        # Since Kubernetes 1.37 this one refuses to start without the garbage collector.
        *(() if collects else ("--controllers=*,-storage-version-migrator-controller",)),
    ]


def scheduler(kubeconfig: Path) -> list[str]:
    """Command line of kube-scheduler."""
    return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]
