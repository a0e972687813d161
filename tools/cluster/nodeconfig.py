"""Configuration files of the node's programs. Pure: addresses and paths in, documents out."""

import json
from pathlib import Path
from typing import Any

from tools.cluster.certs import KeyPair
from tools.cluster.commands import DOMAIN, NODE_LEASE_SECONDS
from tools.cluster.network import Network

PAUSE_IMAGE = "docker.io/local/pause:1"
CNI_PLUGINS = "/usr/lib/cni"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
REGISTRIES = "certs.d"
"""Folder of the cluster with how each registry is reached; containerd reads it at every pull."""


def kubelet(network: Network, cgroup: str, authority: Path, serving: KeyPair, resolv_conf: Path) -> str:
    """KubeletConfiguration. Images are never garbage-collected: without a registry they cannot be pulled
    again."""
    document: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [network.node_address],
        "clusterDomain": DOMAIN,
        "resolvConf": str(resolv_conf),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": 60,
        "nodeLeaseDurationSeconds": NODE_LEASE_SECONDS,
        "syncFrequency": "15s",  # pods see a changed ConfigMap after this, instead of a minute
    }
    return json.dumps(document, indent=2)


def kube_proxy(network: Network, kubeconfig: Path) -> str:
    """KubeProxyConfiguration. conntrack's limits are not changed: they belong to the machine."""
    document: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": network.pod_cidr,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "200ms"},
    }
    return json.dumps(document, indent=2)


def containerd(directory: Path, snapshotter: str) -> str:
    """containerd's TOML. Without CAP_SYS_RESOURCE runc may not lower an OOM score, hence the restriction."""
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{directory / REGISTRIES}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{directory / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def cni(network: Network) -> str:
    """The pods' network: a routed wire a pod.

    Not a bridge: answers between two pods of a bridge bypass kube-proxy's translation unless the kernel
    has br_netfilter, and then a ClusterIP never answers.
    """
    ranges = [[{"subnet": network.pod_cidr}]]
    document: dict[str, Any] = {
        "cniVersion": "0.4.0",
        "name": "tacho",
        "plugins": [
            {
                "type": "ptp",
                "mtu": 1400,
                "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return json.dumps(document, indent=2)


def corefile(kubeconfig: Path) -> str:
    """CoreDNS answers for the cluster only: pods have no way to the Internet."""
    return f"""\
{DOMAIN}:53 in-addr.arpa:53 {{
  errors
  ready 127.0.0.1:8181
  kubernetes {DOMAIN} in-addr.arpa {{
    kubeconfig {kubeconfig}
  }}
}}
"""


def dns_role() -> list[dict[str, Any]]:
    """The role that lists what CoreDNS's user may read."""
    metadata, group = {"name": "system:coredns"}, "rbac.authorization.k8s.io"
    watch = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": watch},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch},
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"}
    subjects = [{"apiGroup": group, "kind": "User", "name": "system:coredns"}]
    binding = {**role, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": subjects}
    del binding["rules"]
    return [role, binding]
