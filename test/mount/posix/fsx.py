"""
Random operations on one file, as fsx makes them, against bytes in memory: fsx.py FILE SEED STEPS.
Reads and writes by system call, by map and by direct I/O, cuts, holes, zeros, copies within the
file, syncs and new handles. Ends with 1 at the first byte that is not as it must be.
"""
import ctypes
import mmap
import os
import random
import sys

SIZE_MAX = 1 << 20
PUNCH, ZERO, ZERO_KEEP = 3, 16, 17
libc = ctypes.CDLL(None, use_errno=True)


class File:
    def __init__(self, path, seed):
        self.path = path
        self.random = random.Random(seed)
        self.model = bytearray()
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)

    def range(self, size=SIZE_MAX):
        offset = self.random.randrange(size)
        length = 1 + self.random.randrange(self.random.choice([10, 5000, 70_000, 300_000]))
        return offset, min(length, SIZE_MAX - offset)

    def data(self, length):
        return self.random.randbytes(16) * (length // 16 + 1)

    def grow(self, size):
        if size > len(self.model):
            self.model.extend(bytes(size - len(self.model)))

    def write(self):
        offset, length = self.range()
        data = self.data(length)[:length]
        assert os.pwrite(self.fd, data, offset) == length
        self.grow(offset + length)
        self.model[offset:offset + length] = data

    def read(self):
        offset, length = self.range()
        self.same(os.pread(self.fd, length, offset), offset, length)

    def same(self, found, offset, length):
        wanted = bytes(self.model[offset:offset + length])
        if found != wanted:
            at = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
            raise AssertionError(f'byte {offset + at} of {len(self.model)}: {found[at:at + 8]} for {wanted[at:at + 8]}')

    def map(self, length):
        return mmap.mmap(self.fd, length)

    def map_write(self):
        if not self.model:
            return
        offset, length = self.range(len(self.model))
        length = min(length, len(self.model) - offset)
        data = self.data(length)[:length]
        with self.map(len(self.model)) as pages:
            pages[offset:offset + length] = data
        self.model[offset:offset + length] = data

    def map_read(self):
        if not self.model:
            return
        offset, length = self.range(len(self.model))
        with self.map(len(self.model)) as pages:
            self.same(pages[offset:offset + length], offset, length)

    def direct_read(self):
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECT)
        offset, length = self.range()
        self.same(os.pread(fd, length, offset), offset, length)
        os.close(fd)

    def cut(self):
        size = self.random.randrange(SIZE_MAX)
        os.ftruncate(self.fd, size)
        del self.model[size:]
        self.grow(size)

    def fallocate(self):
        mode = self.random.choice([0, PUNCH, PUNCH, ZERO, ZERO_KEEP])
        offset, length = self.range()
        result = libc.fallocate(self.fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
        assert result == 0, os.strerror(ctypes.get_errno())
        if mode in (0, ZERO):
            self.grow(offset + length)
        if mode != 0:
            end = min(offset + length, len(self.model))
            if end > offset:
                self.model[offset:end] = bytes(end - offset)

    def copy(self):
        if len(self.model) < 2:
            return
        offset, length = self.range(len(self.model))
        length = min(length, len(self.model) - offset)
        to = self.random.randrange(SIZE_MAX)
        length = min(length, abs(to - offset), SIZE_MAX - to)
        if length == 0:
            return
        data = bytes(self.model[offset:offset + length])
        done = 0
        while done < length:
            done += os.copy_file_range(self.fd, self.fd, length - done, offset + done, to + done)
        self.grow(to + length)
        self.model[to:to + length] = data

    def seek(self):
        if not self.model:
            return
        at = self.random.randrange(len(self.model))
        hole = os.lseek(self.fd, at, os.SEEK_HOLE)
        if hole >= len(self.model):
            return
        try:
            end = os.lseek(self.fd, hole, os.SEEK_DATA)
        except OSError:
            end = len(self.model)
        assert not any(self.model[hole:end]), f'data in the hole from {hole} to {end}'

    def sync(self):
        os.fsync(self.fd)

    def reopen(self):
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)

    def check(self):
        assert os.fstat(self.fd).st_size == len(self.model), (os.fstat(self.fd).st_size, len(self.model))


def main(path, seed, steps):
    file = File(path, seed)
    calls = [file.write] * 4 + [file.read] * 3 + [file.map_write, file.map_read, file.direct_read, file.cut,
                                                file.fallocate, file.fallocate, file.copy, file.seek, file.sync, file.reopen]
    for step in range(steps):
        call = file.random.choice(calls)
        try:
            call()
            file.check()
        except (AssertionError, OSError) as error:
            sys.exit(f'seed {seed}, step {step}, {call.__name__}: {error}')
    file.same(open(path, 'rb').read(), 0, SIZE_MAX)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
