"""`interceptor checkpoint build-image`: an image that a container is restored from, out of a checkpoint's archive."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from interceptor.checkpoint.buildah import import_layout
from interceptor.checkpoint.errors import ImageError
from interceptor.checkpoint.oci_image import ImageSource, write_layout
from interceptor.cli.control import Control, admin_options

# A name as registries take it: HOST[:PORT]/PATH[:TAG], without a digest.
_NAME = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,254}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?")


@click.command("build-image")
@click.argument("checkpoint_id", metavar="ID")
@click.option("--archive", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="The checkpoint's archive: from the node, or ID in the checkpoint directory.")  # fmt: skip
@click.option("--tag", "name", required=True, metavar="NAME", help="The image's name: HOST/PATH:TAG.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR",
              help="Write an OCI image layout there. Default: into buildah's storage, where there is buildah, else to "
              "ID.oci.")  # fmt: skip
@admin_options
def build_image_command(checkpoint_id: str, archive: Path, name: str, output: Path | None, **reach: Any) -> None:
    """Make an image of a checkpoint that the engine kubelet took; a Pod is restored from it."""
    if not _NAME.fullmatch(name):
        raise ImageError(f"--tag {name}: that is no name of an image; write HOST/PATH:TAG")
    control = Control(**reach)
    entry = control.call("GET", "/checkpoint", id=checkpoint_id)
    container = str(entry["detail"].get("container", "")).rpartition("/")[2]
    if entry["engine"] != "kubelet" or not container:
        raise ImageError(
            f"{checkpoint_id} was taken by the engine {entry['engine']}: only kubelet leaves such archives"
        )
    log = control.call("GET", "/state")["log"]["url"]
    source = ImageSource(archive, container, checkpoint_id, entry["version"], log)
    buildah = shutil.which("buildah") if output is None else None
    if buildah is None:
        directory = output or Path(f"{checkpoint_id}.oci")
        digest = write_layout(source, name, directory)
        click.echo(f"{name} ({digest}) is in {directory}: skopeo copy oci:{directory} docker://{name}")
    else:
        with tempfile.TemporaryDirectory(prefix="interceptor-image-") as temporary:
            digest = write_layout(source, name, Path(temporary) / "image")
            import_layout(buildah, Path(temporary) / "image", name)
        click.echo(f"{name} ({digest}) is in buildah's storage: buildah push {name}")
    click.echo(f"a Pod made from it needs --restored-checkpoint {checkpoint_id} (version {entry['version']})")
