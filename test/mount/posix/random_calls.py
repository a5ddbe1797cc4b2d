"""Random calls of all users in one small tree, from a seed."""
import os
import random
import stat

from engine import NOW, OMIT, USERS

NAMES = [b'a', b'b', b'c', b'd']
FLAGS = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_SYNC]
SLOTS = ['one', 'two', 'three']


class RandomCalls:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, values):
        return self.random.choice(values)

    def path(self):
        path = self.pick(NAMES)
        while len(path) < 6 and self.random.random() < 0.4:
            path += b'/' + self.pick(NAMES)
        return path

    def mode(self):
        return self.pick([0o777, 0o755, 0o700, 0o644, 0o666, 0o1777, 0o2775, 0o6755, 0o000, 0o4711])

    def time(self):
        return self.pick([(0, NOW), (0, OMIT), (self.random.randrange(-10**9, 8 * 10**9), self.random.randrange(10**9))])

    def offset(self):
        return self.pick([0, 1, 100, 4095, 4096, 70_000, self.random.randrange(200_000)])

    def data(self):
        return bytes([self.random.randrange(97, 123)]) * self.pick([1, 10, 4096, 5000, 66_000])

    def next(self):
        """A user and a call."""
        user = self.pick(['root', 'root', 'alice', 'alice', 'bob', 'carol'])
        slot = self.pick(SLOTS)
        kind = self.random.randrange(100)
        path = self.path()
        if kind < 10:
            return user, ('open', slot, path, self.pick(FLAGS) | self.pick([0, os.O_CREAT, os.O_CREAT | os.O_EXCL]) | os.O_NONBLOCK, self.mode())
        if kind < 24:
            return user, self.pick([
                ('pwrite', slot, self.data(), self.offset()), ('write', slot, self.data()), ('pread', slot, 100_000, self.offset()),
                ('ftruncate', slot, self.offset()), ('fsync', slot), ('fstat', slot), ('fchmod', slot, self.mode()), ('close', slot),
                ('fallocate', slot, self.pick([0, 1, 3, 3]), self.offset(), 1 + self.offset()),
                ('copyrange', slot, self.pick(SLOTS), 1 + self.offset(), self.offset(), self.offset()),
                ('futimens', slot, (self.time(), self.time())), ('fchown', slot, self.pick([1001, 1002]), self.pick([-1, 1001, 2000]))])
        if kind < 36:
            return user, ('mkdir', path, self.mode())
        if kind < 44:
            return user, ('open', slot, path, os.O_CREAT | os.O_RDWR | os.O_NONBLOCK, self.mode())
        if kind < 50:
            return user, self.pick([('unlink', path), ('rmdir', path)])
        if kind < 62:
            return user, self.pick([('rename', path, self.path()), ('renameat2', path, self.path(), self.pick([1, 2]))])
        if kind < 68:
            return user, ('link', path, self.path())
        if kind < 72:
            return user, ('symlink', self.path(), path)
        if kind < 78:
            return user, ('chmod', path, self.mode())
        if kind < 83:
            return user, (self.pick(['chown', 'lchown']), path, self.pick([0, 1001, 1002]), self.pick([-1, 0, 1001, 1002, 2000]))
        if kind < 87:
            return user, ('truncate', path, self.offset())
        if kind < 91:
            return user, ('utimens', path, (self.time(), self.time()), self.pick([0, 0x100]))
        if kind < 93:
            return user, ('mknod', path, self.pick([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG]) | self.mode())
        if kind < 95:
            return user, ('umask', self.pick([0, 0o022, 0o077]))
        if kind < 97:
            return user, self.pick([('setxattr', path, 'user.' + self.pick('xyz'), self.data()[:100]), ('removexattr', path, 'user.x'), ('listxattr', path)])
        return user, self.pick([('list', path), ('stat', path), ('access', path, self.pick([1, 2, 4])), ('readlink', path)])


def users():
    return list(USERS)
