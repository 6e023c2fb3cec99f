"""Disks that fail as real ones do: a small one that gets full, and system calls that answer EIO on order."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# On files below FAULT_DIRECTORY, of which one is written to; `synced` keeps the end of what fdatasync has covered.
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int concerned(int fd) {
    const char *directory = getenv("FAULT_DIRECTORY");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!directory || length < 0) return 0;
    path[length] = 0;
    return strncmp(path, directory, strlen(directory)) == 0;
}

static int fails(const char *kind, int fd) {
    int before = errno;
    const char *triggers = getenv("FAULT_TRIGGERS");
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", triggers ? triggers : "", kind);
    int found = triggers && access(path, F_OK) == 0 && concerned(fd);
    errno = found ? EIO : before;
    return found;
}

static long long written_end;

static void note_written(const char *data, size_t length, off_t at) {
    int only_zeros = !length || (!data[0] && !memcmp(data, data + 1, length - 1));
    if (!only_zeros && at + (long long)length > written_end) written_end = at + (long long)length;
}

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    if (fails("write", fd)) return -1;
    if (concerned(fd)) note_written(data, length, lseek(fd, 0, SEEK_CUR));
    return real(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    REAL(pwrite);
    if (fails("write", fd)) return -1;
    if (concerned(fd)) note_written(data, length, at);
    return real(fd, data, length, at);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) {
    return pwrite(fd, data, length, at);
}

int fsync(int fd) {
    REAL(fsync);
    return fails("sync", fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (fails("sync", fd)) return -1;
    long long covered = written_end;
    int result = real(fd);
    if (result == 0 && covered && concerned(fd)) {
        char path[4096], text[32];
        snprintf(path, sizeof path, "%s/synced", getenv("FAULT_TRIGGERS"));
        int length = snprintf(text, sizeof text, "%020lld", covered);
        int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (out >= 0) {
            pwrite(out, text, length, 0);
            close(out);
        }
    }
    return result;
}
"""


class FaultyDisk:
    """What goes through the library fails while `begin` says so."""

    def __init__(self, library: Path, log: Path, triggers: Path) -> None:
        triggers.mkdir()
        self.environment = {
            "LD_PRELOAD": str(library), "FAULT_DIRECTORY": str(log), "FAULT_TRIGGERS": str(triggers),
        }  # fmt: skip
        self._log = log
        self._triggers = triggers

    def begin(self, kind: str) -> None:
        """From now on each `write` or `sync` fails."""
        (self._triggers / kind).touch()

    def end(self, kind: str) -> None:
        (self._triggers / kind).unlink()

    def cut_power(self) -> None:
        """Lose what no flush has covered, as the page cache does; nobody may have the log open."""
        (segment,) = self._log.glob("*.log")
        with segment.open("r+b") as file:
            begin = int((self._triggers / "synced").read_text())
            size = file.seek(0, os.SEEK_END)
            file.seek(begin)
            file.write(bytes(max(0, size - begin)))


def compiled_library(directory: Path) -> Path:
    """Return the library; skips the test where it can't be made."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc, which makes the library with the faulty system calls, is not installed")
    source, library = directory / "faults.c", directory / "faults.so"
    source.write_text(SOURCE)
    subprocess.run(
        ["gcc", "-Wall", "-Wno-unused-result", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"],
        check=True,
    )
    return library


class SmallDisk:
    """A file system of a few mebibytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filler = directory / "filler"

    def fill(self, pages_left: int = 0) -> bool:
        """Leave no room for another page, or for so many and no more; return whether there was any."""
        with self._filler.open("ab", buffering=0) as file:
            begin = file.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            end = file.seek(0, os.SEEK_END)
            file.truncate(end - 4096 * pages_left)
            return end > begin

    def make_room(self) -> None:
        self._filler.unlink()

    def remount(self, *options: str) -> None:
        subprocess.run(["mount", "-o", ",".join(("remount", *options)), str(self.directory)], check=True)


@contextlib.contextmanager
def mounted_disk(directory: Path) -> Iterator[SmallDisk]:
    """A small disk; skips the test where nothing can be mounted."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a full disk needs `mount`, which is not installed")
    if done.returncode:
        pytest.skip(f"a full disk needs the right to mount one: {done.stderr.strip()}")
    try:
        yield SmallDisk(directory)
    finally:
        # Lazily: a process that a failed test has left behind may still have the log open.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
