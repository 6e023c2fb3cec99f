"""A checkpoint archive as an image that containerd and CRI-O restore a container from.

OCI image layout (image specification 1.1): one layer, the archive's own content at `/`, on nothing.  What makes it a
checkpoint image are annotations; they stand on the manifest and on the index, because runtimes look at either.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from interceptor.checkpoint.errors import ImageError
from interceptor.checkpoint.kubelet_archive import check_archive

_PIECE_BYTES = 1024 * 1024
_COMPRESSION_LEVEL = 1
"""Memory pages are many and compress well: more effort costs minutes and gains little."""

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

# As Go, and so every runtime, calls them.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}

CONTAINER_ANNOTATIONS = ("io.kubernetes.cri-o.annotations.checkpoint.name", "org.criu.checkpoint.container.name")
"""The container's name, for CRI-O and for containerd: with it an image is one to restore from."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """What goes into an image: the archive, and which checkpoint of which log it is."""

    archive: Path
    container: str
    checkpoint_id: str
    version: int
    log: str

    def annotations(self) -> dict[str, str]:
        """Return them."""
        return {
            **dict.fromkeys(CONTAINER_ANNOTATIONS, self.container),
            "crsc.io/checkpoint-id": self.checkpoint_id,
            "crsc.io/checkpoint-version": str(self.version),
            "crsc.io/log": self.log,
        }


def write_layout(source: ImageSource, name: str, directory: Path) -> str:
    """Write the image `name` as a new layout, whole or not at all; return its manifest's digest.

    Raises ImageError and ArtefactDamagedError.
    """
    if directory.exists():
        raise ImageError(f"{directory} is there already: name a directory that is not")
    draft = directory.with_name(f"{directory.name}.draft")
    try:
        check_archive(source.archive)
        shutil.rmtree(draft, ignore_errors=True)
        digest = _Layout(draft).write(source, name)
        os.rename(draft, directory)
    except OSError as error:
        where = error.filename or directory
        raise ImageError(f"the image can't be written: {where}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return digest


class _Layout:
    """A directory of blobs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._blobs = directory / "blobs" / "sha256"

    def write(self, source: ImageSource, name: str) -> str:
        """Write everything; return the manifest's digest."""
        self._blobs.mkdir(parents=True)
        annotations = source.annotations()
        created = datetime.fromtimestamp(source.archive.stat().st_mtime, UTC).isoformat(timespec="seconds")
        layer, content_digest = self._layer(source.archive)
        config = {
            "created": created,
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [content_digest]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._json(_CONFIG, config),
            "layers": [layer],
            "annotations": annotations,
        }
        described = self._json(_MANIFEST, manifest)
        names = {"org.opencontainers.image.ref.name": tag_of(name), "io.containerd.image.name": name}
        index = {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [{**described, "annotations": {**annotations, **names}}],
            "annotations": annotations,
        }
        (self._directory / "index.json").write_bytes(_encoded(index))
        (self._directory / "oci-layout").write_bytes(_encoded({"imageLayoutVersion": "1.0.0"}))
        return str(described["digest"])

    def _json(self, media_type: str, content: Mapping[str, object]) -> dict[str, Any]:
        data = _encoded(content)
        digest = hashlib.sha256(data).hexdigest()
        (self._blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def _layer(self, archive: Path) -> tuple[dict[str, Any], str]:
        """Compress the archive into a blob; return its descriptor and the digest of what it holds."""
        content = hashlib.sha256()
        unnamed = self._blobs / "layer"
        with archive.open("rb") as source, unnamed.open("wb") as file:
            stored = _Digesting(file)
            # Without name and time the same archive makes the same layer.
            with gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, cast(BinaryIO, stored), mtime=0) as packed:
                while piece := source.read(_PIECE_BYTES):
                    content.update(piece)
                    packed.write(piece)
        os.rename(unnamed, self._blobs / stored.digest.hexdigest())
        described = {"mediaType": _LAYER, "digest": f"sha256:{stored.digest.hexdigest()}", "size": stored.size_bytes}
        return described, f"sha256:{content.hexdigest()}"


class _Digesting:
    """A file that knows the digest of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def tag_of(name: str) -> str:
    """Return the tag in an image's name, `latest` where it has none."""
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or "latest"


def _encoded(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
