"""Images of checkpoints: what is written is what the OCI specifications say, and what other tools read."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from interceptor.checkpoint.buildah import import_layout
from interceptor.checkpoint.errors import ArtefactDamagedError, ImageError
from interceptor.checkpoint.oci_image import ImageSource, tag_of, write_layout
from tests.checkpoint.archives import NEEDED, write_archive

NAME = "registry:5000/shop/app:v7"
EXPECTED = {
    "io.kubernetes.cri-o.annotations.checkpoint.name": "app",
    "org.criu.checkpoint.container.name": "app",
    "crsc.io/checkpoint-id": "kubelet-7",
    "crsc.io/checkpoint-version": "42",
    "crsc.io/log": "file:///var/log",
}


@pytest.fixture
def source(tmp_path: Path) -> ImageSource:
    archive = tmp_path / "archive.tar"
    write_archive(archive, (*NEEDED, "checkpoint/pages-1.img", "rootfs-diff.tar"))
    return ImageSource(archive, "app", "kubelet-7", 42, "file:///var/log")


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """Return what a descriptor names; its digest and size are true."""
    content = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    assert len(content) == descriptor["size"]
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor["digest"]
    return content


def test_every_digest_is_true_and_the_layer_is_the_archive(source: ImageSource, tmp_path: Path) -> None:
    """OCI image specification 1.1: layout, index, manifest, configuration with the digest of the unpacked layer."""
    layout = tmp_path / "image"
    digest = write_layout(source, NAME, layout)
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout / "index.json").read_bytes())
    (described,) = index["manifests"]
    assert described["digest"] == digest
    manifest = json.loads(blob(layout, described))
    config = json.loads(blob(layout, manifest["config"]))
    (layer,) = manifest["layers"]
    content = gzip.decompress(blob(layout, layer))
    assert content == source.archive.read_bytes()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content).hexdigest()}"]
    assert len(list((layout / "blobs" / "sha256").iterdir())) == 3
    assert index["annotations"] == manifest["annotations"] == EXPECTED
    names = {"org.opencontainers.image.ref.name": "v7", "io.containerd.image.name": NAME}
    assert described["annotations"] == {**EXPECTED, **names}
    assert write_layout(source, NAME, tmp_path / "again") == digest, "the same archive makes the same image"


def test_skopeo_reads_and_copies_it(source: ImageSource, tmp_path: Path) -> None:
    if (skopeo := shutil.which("skopeo")) is None:
        pytest.skip("no skopeo: Debian's package of that name")
    layout, copied = tmp_path / "image", tmp_path / "copied"
    digest = write_layout(source, NAME, layout)
    shown = run(skopeo, "inspect", f"oci:{layout}:v7")
    assert json.loads(shown)["Digest"] == digest
    run(skopeo, "--insecure-policy", "copy", "--preserve-digests", f"oci:{layout}:v7", f"dir:{copied}")
    assert json.loads((copied / "manifest.json").read_bytes())["annotations"] == EXPECTED


def test_buildah_takes_it_under_its_name(source: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (buildah := shutil.which("buildah")) is None:
        pytest.skip("no buildah: Debian's package of that name")
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(storage))
    layout = tmp_path / "image"
    digest = write_layout(source, NAME, layout)
    import_layout(buildah, layout, NAME)
    shown = json.loads(run(buildah, "inspect", "--type", "image", NAME))
    assert shown["FromImageDigest"] == digest
    assert shown["ImageAnnotations"] == EXPECTED
    with pytest.raises(ImageError, match=r"pull failed: .*--output"):
        import_layout(buildah, tmp_path / "nothing", NAME)


def test_what_is_no_archive_makes_no_image(source: ImageSource, tmp_path: Path) -> None:
    """Nothing is left behind."""
    layout = tmp_path / "image"
    write_archive(source.archive, NEEDED[:2])
    with pytest.raises(ArtefactDamagedError, match=r"no checkpoint/inventory.img in it"):
        write_layout(source, NAME, layout)
    source.archive.write_bytes(b"no tar" * 1000)
    with pytest.raises(ArtefactDamagedError, match="is no checkpoint archive"):
        write_layout(source, NAME, layout)
    source.archive.unlink()
    with pytest.raises(ImageError, match=r"archive\.tar: No such file"):
        write_layout(source, NAME, layout)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_directory_that_is_there_is_not_touched(source: ImageSource, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    with pytest.raises(ImageError, match="is there already"):
        write_layout(source, NAME, tmp_path / "image")
    assert not list((tmp_path / "image").iterdir())


@pytest.mark.parametrize(
    ("name", "tag"), [("app", "latest"), ("app:1", "1"), ("host:5000/app", "latest"), ("host:5000/a/b:v", "v")]
)
def test_the_tag_in_a_name(name: str, tag: str) -> None:
    assert tag_of(name) == tag


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
    assert done.returncode == 0, done.stderr
    return done.stdout
