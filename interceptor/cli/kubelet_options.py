"""The options of `interceptor run` about the kubelet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from interceptor.checkpoint.kubelet_options import KubeletOptions

_FILE = click.Path(path_type=Path)


def kubelet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command these options."""
    for option in reversed((
        click.option("--kubelet-node", metavar="HOST[:PORT]",
                     help="With kubelet: the node's address (downward API: status.hostIP), port 10250 unless given."),
        click.option("--kubelet-namespace", metavar="NAME", help="Default: that of the service account."),
        click.option("--kubelet-pod", metavar="NAME", help="This Pod (downward API: metadata.name)."),
        click.option("--kubelet-container", metavar="NAME", help="The target's container."),
        click.option("--kubelet-token-file", type=_FILE, metavar="FILE",
                     help="Bearer token, read for each call. Default: the service account's, without a certificate."),
        click.option("--kubelet-client-cert", type=_FILE, metavar="FILE", help="Client certificate (PEM), or a token."),
        click.option("--kubelet-client-key", type=_FILE, metavar="FILE", help="The key of --kubelet-client-cert."),
        click.option("--kubelet-ca-file", type=_FILE, metavar="FILE",
                     help="Certificates (PEM) that the kubelet is verified with. Default: the service account's CA."),
        click.option("--kubelet-server-name", metavar="NAME",
                     help="Name in the kubelet's certificate, where it is not the address."),
        click.option("--kubelet-archive-dir", type=_FILE, metavar="DIR",
                     help="Where the node's /var/lib/kubelet/checkpoints is mounted: archives are taken over from it."),
        click.option("--kubelet-restore", is_flag=True, default=False,
                     help="Pods can be made from checkpoint images here: the log may be trimmed behind them."),
    )):  # fmt: skip
        command = option(command)
    return command


def read_kubelet_options(options: dict[str, Any]) -> KubeletOptions:
    """Return what was given."""
    return KubeletOptions(
        node=options["kubelet_node"],
        namespace=options["kubelet_namespace"],
        pod=options["kubelet_pod"],
        container=options["kubelet_container"],
        token_file=options["kubelet_token_file"],
        client_cert=options["kubelet_client_cert"],
        client_key=options["kubelet_client_key"],
        ca_file=options["kubelet_ca_file"],
        server_name=options["kubelet_server_name"],
        archive_dir=options["kubelet_archive_dir"],
        restore=options["kubelet_restore"],
    )
