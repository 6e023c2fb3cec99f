"""Disks that fail as real ones do: a small one that gets full, and system calls that answer EIO or dawdle on order."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

# On files below FAULT_DIRECTORY, of which one is written to; `synced` keeps the end of what fdatasync has covered.
# With `hang` a flush does not return until that is taken away.
# `clock` holds seconds by which the wall clock is off; the monotonic one stays as it is, as in a real step.
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SLOW_US 60000

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

static void wait_if_slow(int fd) {
    int before = errno;
    if (fails("slow", fd)) usleep(SLOW_US);
    errno = before;
}

static void wait_if_hanging(int fd) {
    int before = errno;
    while (fails("hang", fd)) usleep(SLOW_US);
    errno = before;
}

int fsync(int fd) {
    REAL(fsync);
    wait_if_hanging(fd);
    return fails("sync", fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (fails("sync", fd)) return -1;
    long long covered = written_end;
    wait_if_hanging(fd);
    wait_if_slow(fd);
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

static long stepped_s(void) {
    static __thread int inside;
    const char *triggers = getenv("FAULT_TRIGGERS");
    char path[4096], text[32] = "0";
    if (!triggers || inside) return 0;
    inside = 1;
    int before = errno;
    snprintf(path, sizeof path, "%s/clock", triggers);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t length = read(fd, text, sizeof text - 1);
        text[length > 0 ? length : 0] = 0;
        close(fd);
    }
    errno = before;
    inside = 0;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    REAL(clock_gettime);
    int result = real(clock, at);
    if (clock == CLOCK_REALTIME) at->tv_sec += stepped_s();
    return result;
}

int gettimeofday(struct timeval *at, void *zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(at, zone);
    at->tv_sec += stepped_s();
    return result;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class DiskUnavailableError(Exception):
    """This machine can't have such a disk; says why."""


class FaultyDisk:
    """What goes through the library fails, or is slow, while `begin` says so.  The log has one segment."""

    def __init__(self, library: Path, log: Path, triggers: Path) -> None:
        triggers.mkdir()
        self.environment = {
            "LD_PRELOAD": str(library), "FAULT_DIRECTORY": str(log), "FAULT_TRIGGERS": str(triggers),
        }  # fmt: skip
        self._log = log
        self._triggers = triggers

    def begin(self, kind: str) -> None:
        """From now on each `write` or `sync` fails, or each sync is `slow`, or does not end (`hang`)."""
        (self._triggers / kind).touch()

    def end(self, kind: str) -> None:
        (self._triggers / kind).unlink(missing_ok=True)

    def step_clock(self, seconds: int) -> None:
        """Set the wall clock off by so many seconds."""
        new = self._triggers / "clock.new"
        new.write_text(str(seconds))
        new.rename(self._triggers / "clock")

    def cut_power(self) -> None:
        """Lose what no flush has covered, as the page cache does; nobody may have the log open."""
        (segment,) = self._log.glob("*.log")
        with segment.open("r+b") as file:
            begin = int((self._triggers / "synced").read_text())
            size = file.seek(0, os.SEEK_END)
            file.seek(begin)
            file.write(bytes(max(0, size - begin)))


def compiled_library(directory: Path) -> Path:
    """Return the library with the faulty system calls.  Raises DiskUnavailableError."""
    if shutil.which("gcc") is None:
        raise DiskUnavailableError("gcc, which makes the library with the faulty system calls, is not installed")
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
def mounted_disk(directory: Path, size_mib: int = 4) -> Iterator[SmallDisk]:
    """A small disk, mounted for so long.  Raises DiskUnavailableError."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DiskUnavailableError("a full disk needs `mount`, which is not installed") from error
    if done.returncode:
        raise DiskUnavailableError(f"a full disk needs the right to mount one: {done.stderr.strip()}")
    try:
        yield SmallDisk(directory)
    finally:
        # Lazily: a process that was left behind may still have the log open.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
