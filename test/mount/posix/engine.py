"""Runs the same system calls on two directories and tells where they differ.

One of the directories lies on tmpfs, which is taken as the truth; the other on the mount. Calls are
made by worker processes, one per user, first on the one side and then on the other. Before and
after each call the paths it names, their directories and its open file are looked at by root: type,
mode, links, owner, size, device, set times, and whether mtime and ctime have moved.

Not compared, because file systems differ in it lawfully: inode and device numbers, sizes and
allocation of directories, `st_blocks`, and an atime that nobody has set.
"""
import ctypes
import errno
import os
import stat
import time
from multiprocessing import Pipe

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
#: CLOCK_REALTIME_COARSE
COARSE = 5
NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2

#: name -> (uid, gid, supplementary groups)
USERS = {
    'root': (0, 0, [0]),
    'alice': (1001, 1001, [1001, 2000]),
    'bob': (1002, 1002, [1002]),
    'carol': (1003, 2000, [2000]),
}


class Timespec(ctypes.Structure):
    _fields_ = [('s', ctypes.c_long), ('ns', ctypes.c_long)]


def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def timespecs(times):
    if times is None:
        return None
    return (Timespec * 2)(*[Timespec(*time) for time in times])


class Calls:
    """The system calls, on one side. `fds` maps slots to descriptors."""

    def __init__(self, root):
        self.root = root
        self.fds = {}

    def path(self, path):
        return self.root + b'/' + path if isinstance(path, bytes) else path

    def _put(self, slot, fd):
        self._drop(slot)
        self.fds[slot] = fd

    def _drop(self, slot):
        fd = self.fds.pop(slot, None)
        if fd is not None:
            os.close(fd)

    def open(self, slot, path, flags, mode=0o644):
        self._put(slot, os.open(self.path(path), flags, mode))

    def close(self, slot):
        self._drop(slot)

    def closeall(self):
        for slot in list(self.fds):
            self._drop(slot)

    def umask(self, mask):
        os.umask(mask)

    def mkdir(self, path, mode):
        os.mkdir(self.path(path), mode)

    def rmdir(self, path):
        os.rmdir(self.path(path))

    def unlink(self, path):
        os.unlink(self.path(path))

    def rename(self, a, b):
        os.rename(self.path(a), self.path(b))

    def renameat2(self, a, b, flags):
        check(libc.renameat2(AT_FDCWD, self.path(a), AT_FDCWD, self.path(b), flags))

    def link(self, a, b):
        check(libc.linkat(AT_FDCWD, self.path(a), AT_FDCWD, self.path(b), 0))

    def linkfd(self, slot, b):
        check(libc.linkat(AT_FDCWD, b'/proc/self/fd/%d' % self.fd(slot), AT_FDCWD, self.path(b), 0x400))

    def symlink(self, target, path):
        os.symlink(target, self.path(path))

    def readlink(self, path):
        return os.readlink(self.path(path))

    def mkfifo(self, path, mode):
        os.mkfifo(self.path(path), mode)

    def mknod(self, path, mode, device=0):
        os.mknod(self.path(path), mode, device)

    def chmod(self, path, mode):
        os.chmod(self.path(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self.path(path), uid, gid)

    def lchown(self, path, uid, gid):
        os.lchown(self.path(path), uid, gid)

    def truncate(self, path, size):
        check(libc.truncate(self.path(path), ctypes.c_long(size)))

    def utimens(self, path, times, flags=0):
        check(libc.utimensat(AT_FDCWD, self.path(path), timespecs(times), flags))

    def atime(self, path):
        return os.lstat(self.path(path)).st_atime_ns

    def access(self, path, mode):
        return os.access(self.path(path), mode)

    def stat(self, path):
        return shown(os.stat(self.path(path)))

    def lstat(self, path):
        return shown(os.lstat(self.path(path)))

    def list(self, path):
        return sorted(os.listdir(self.path(path)))

    def setxattr(self, path, name, value, flags=0):
        os.setxattr(self.path(path), name, value, flags, follow_symlinks=False)

    def getxattr(self, path, name):
        return os.getxattr(self.path(path), name, follow_symlinks=False)

    def removexattr(self, path, name):
        os.removexattr(self.path(path), name, follow_symlinks=False)

    def listxattr(self, path):
        names = os.listxattr(self.path(path), follow_symlinks=False)
        return sorted(name for name in names if not name.startswith('system.'))

    def fd(self, slot):
        if slot not in self.fds:
            raise OSError(errno.EBADF, 'no such slot')
        return self.fds[slot]

    def read(self, slot, count):
        return os.read(self.fd(slot), count)

    def pread(self, slot, count, offset):
        return os.pread(self.fd(slot), count, offset)

    def write(self, slot, data):
        return os.write(self.fd(slot), data)

    def pwrite(self, slot, data, offset):
        return os.pwrite(self.fd(slot), data, offset)

    def ftruncate(self, slot, size):
        check(libc.ftruncate(self.fd(slot), ctypes.c_long(size)))

    def fallocate(self, slot, mode, offset, length):
        check(libc.fallocate(self.fd(slot), mode, ctypes.c_long(offset), ctypes.c_long(length)))

    def fchmod(self, slot, mode):
        os.fchmod(self.fd(slot), mode)

    def fchown(self, slot, uid, gid):
        os.fchown(self.fd(slot), uid, gid)

    def futimens(self, slot, times):
        check(libc.futimens(self.fd(slot), timespecs(times)))

    def fsync(self, slot):
        os.fsync(self.fd(slot))

    def fstat(self, slot):
        return shown(os.fstat(self.fd(slot)))

    def seek(self, slot, offset, whence):
        return os.lseek(self.fd(slot), offset, whence)

    def copyrange(self, source, target, count, from_offset, to_offset):
        return os.copy_file_range(self.fd(source), self.fd(target), count, from_offset, to_offset)

    def text(self, path):
        with open(self.path(path), 'rb') as file:
            return file.read()


def shown(info):
    """What both sides must agree on."""
    mode = info.st_mode
    size = 0 if stat.S_ISDIR(mode) else info.st_size
    device = info.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
    return (oct(mode), info.st_nlink, info.st_uid, info.st_gid, size, device)


def attempt(calls, call):
    try:
        return ('ok', getattr(calls, call[0])(*call[1:]))
    except OSError as error:
        return (errno.errorcode.get(error.errno, error.errno),)


def serve(channel, user, roots):
    uid, gid, groups = USERS[user]
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.umask(0)
    sides = [Calls(root) for root in roots]
    while True:
        call = channel.recv()
        if call is None:
            os._exit(0)
        mask = os.umask(0)
        results = []
        for side in sides:
            os.umask(mask)
            results.append(attempt(side, call))
        channel.send(results)


class Differ:
    """Both sides, and the users who work on them."""

    def __init__(self, truth, mount, shows=20):
        self.roots = [os.fsencode(truth), os.fsencode(mount)]
        self.eyes = [Calls(root) for root in self.roots]
        self.calls = 0
        self.differences = []
        self.shows = shows
        self.workers = {}
        for user in USERS:
            here, there = Pipe()
            if os.fork() == 0:
                here.close()
                serve(there, user, self.roots)
            there.close()
            self.workers[user] = here

    def close(self):
        for channel in self.workers.values():
            channel.send(None)

    def raw(self, user, *call):
        self.workers[user].send(call)
        return self.workers[user].recv()

    def look(self, path):
        seen = []
        for side in self.eyes:
            try:
                info = os.lstat(side.path(path))
                seen.append((shown(info), info.st_mtime_ns, info.st_ctime_ns, info.st_atime_ns, info.st_ino))
            except OSError as error:
                seen.append((errno.errorcode.get(error.errno), 0, 0, 0, 0))
        return seen

    def prepare(self, *call):
        """A call of root that only sets the scene: nothing is looked at but its result."""
        truth, found = self.raw('root', *call)
        self.calls += 1
        problems = [] if truth == found else [f'answers {truth!r:.200} and {found!r:.200}']
        return self.report('root', call, problems)

    def run(self, user, *call, waits=True):
        """
        Makes one call on both sides; whether all is the same. Unless the clock of the truth, which
        goes by ticks, is waited for, times that stand still there say nothing.
        """
        paths = [part for part in call[1:] if isinstance(part, bytes) and len(part) < 200]
        if call[0] == 'symlink':
            paths = paths[1:]
        watched = list(dict.fromkeys(paths + [os.path.dirname(path) or b'.' for path in paths]))
        before = [self.look(path) for path in watched]
        if waits:
            tick = time.clock_gettime_ns(COARSE)
            while time.clock_gettime_ns(COARSE) == tick:
                time.sleep(0.0005)
        truth, found = self.raw(user, *call)
        self.calls += 1
        problems = []
        if truth != found:
            problems.append(f'answers {truth!r:.200} and {found!r:.200}')
        for path, old in zip(watched, before):
            problems += self.compare(path, old, self.look(path), call, waits, truth[0] == 'ok')
        return self.report(user, call, problems)

    def compare(self, path, old, new, call, waits, done):
        (a, *_), (b, *_) = new
        if a != b:
            return [f'{path!r:.60} is {a} and {b}']
        if isinstance(a, str):
            return []
        problems = []
        for what, index in (('mtime', 1), ('ctime', 2)):
            if any(new[side][4] != old[side][4] for side in (0, 1)):
                break
            moved = [new[side][index] != old[side][index] for side in (0, 1)]
            if moved[0] != moved[1] and (waits or moved[0]):
                times = [(old[side][index], new[side][index]) for side in (0, 1)]
                problems.append(f'{what} of {path!r:.60} moved: {moved[0]} and {moved[1]}, {times}')
        is_self = call[0] == 'utimens' and (call[3:] == (0x100,) or not stat.S_ISLNK(int(a[0], 8)))
        if is_self and path == call[1] and call[2] is not None:
            for what, index, wanted in (('atime', 3, call[2][0]), ('mtime', 1, call[2][1])):
                explicit = wanted[1] not in (NOW, OMIT)
                if explicit and done and new[0][index] != new[1][index]:
                    problems.append(f'{what} of {path!r:.60}: {new[0][index]} and {new[1][index]}')
        return problems

    def report(self, user, call, problems):
        for problem in problems:
            self.differences.append(f'{user} {call!r:.300}: {problem}')
        return not problems

    def tree(self, path=b''):
        """Compares everything below a directory: names, attributes, bytes."""
        names = [attempt(side, ('list', path or b'.')) for side in self.eyes]
        problems = []
        if names[0] != names[1]:
            problems.append(f'names in {path!r}: {names[0]} and {names[1]}')
        elif names[0][0] == 'ok':
            for name in names[0][1]:
                below = path + b'/' + name if path else name
                (a, *_), (b, *_) = self.look(below)
                if a != b:
                    problems.append(f'{below!r} is {a} and {b}')
                    continue
                mode = int(a[0], 8)
                if stat.S_ISDIR(mode):
                    problems += self.tree(below)
                elif stat.S_ISREG(mode):
                    bytes_ = [side.text(below) for side in self.eyes]
                    if bytes_[0] != bytes_[1]:
                        problems.append(f'bytes of {below!r}')
                elif stat.S_ISLNK(mode):
                    links = [side.readlink(below) for side in self.eyes]
                    if links[0] != links[1]:
                        problems.append(f'target of {below!r}')
        return problems
