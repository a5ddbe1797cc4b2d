"""
What tmpfs cannot be asked for, or what takes more than a call: run in an empty mount, ends with 0.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct

libc = ctypes.CDLL(None, use_errno=True)
END = 1 << 53


def refused(number, call, *parameters):
    try:
        result = call(*parameters)
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError(f'not refused: {result}')


def create(name, flags=0):
    return os.open(name, os.O_RDWR | os.O_CREAT | flags, 0o644)


def appenders():
    """20 processes append to one file, and no line is lost."""
    children = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            fd = os.open('log', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            for line in range(100):
                os.write(fd, b'%02d %03d\n' % (number, line))
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    lines = open('log').read().split('\n')
    assert len(lines) == 2001 and len(set(lines)) == 2001, len(lines)


def shared_maps():
    """Pages of a map go where they are, also through a handle that appends."""
    fd = create('mapped', os.O_APPEND)
    os.write(fd, b'a' * 8192)
    with mmap.mmap(fd, 8192) as pages:
        pages[0:5] = b'hello'
        pages[4096:4100] = b'page'
        pages.flush()
    os.fsync(fd)
    data = open('mapped', 'rb').read()
    assert len(data) == 8192 and data[:5] == b'hello' and data[4096:4100] == b'page', len(data)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_APPEND)
    os.pwrite(fd, b'XY', 10)
    assert os.fstat(fd).st_size == 8192 and os.pread(fd, 2, 10) == b'XY'


def huge_files():
    fd = create('huge')
    end = END - 1
    os.ftruncate(fd, end)
    assert (os.fstat(fd).st_size, os.fstat(fd).st_blocks) == (end, 0)
    assert os.pwrite(fd, b'xyz', end - 2) == 2
    refused(errno.EFBIG, os.pwrite, fd, b'x', end)
    refused(errno.EFBIG, os.ftruncate, fd, end + 1)
    assert os.lseek(fd, 0, os.SEEK_DATA) == end - 2
    os.ftruncate(fd, 0)


def zeroed_ranges():
    fd = create('zeroed')
    os.write(fd, b'x' * 300_000)
    allocate = lambda mode, offset, length: libc.fallocate(
        fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
    assert allocate(16, 1000, 200_000) == 0
    assert os.pread(fd, 300_000, 0) == b'x' * 1000 + bytes(200_000) + b'x' * 99_000
    assert allocate(16, 299_990, 100) == 0
    assert os.fstat(fd).st_size == 300_090
    assert allocate(17, 300_000, 1000) == 0
    assert os.fstat(fd).st_size == 300_090
    assert os.fstat(fd).st_blocks < 250
    assert allocate(8, 0, 4096) == -1 and ctypes.get_errno() == errno.EOPNOTSUPP


def attributes():
    create('attributed')
    acl = struct.pack('<I' + 'HHI' * 3, 2, 1, 7, 2**32 - 1, 4, 7, 2**32 - 1, 32, 7, 2**32 - 1)
    refused(errno.EOPNOTSUPP, os.setxattr, 'attributed', 'system.posix_acl_access', acl)
    refused(errno.EOPNOTSUPP, os.getxattr, 'attributed', 'system.posix_acl_access')
    refused(errno.E2BIG, os.setxattr, 'attributed', 'user.a', b'x' * 70_000)
    refused(errno.ENOSPC, os.setxattr, 'attributed', 'user.a', b'x' * 65_536)
    os.setxattr('attributed', 'user.a', b'x' * 60_000)
    refused(errno.ENOSPC, os.setxattr, 'attributed', 'user.b', b'x' * 6000)
    buffer = ctypes.create_string_buffer(10)
    assert libc.getxattr(b'attributed', b'user.a', buffer, 10) == -1
    assert ctypes.get_errno() == errno.ERANGE
    os.setxattr('attributed', 'trusted.t', b'')
    os.utime('attributed', ns=(5, 6))
    assert sorted(os.listxattr('attributed')) == ['trusted.t', 'user.a']
    child = os.fork()
    if child == 0:
        os.setresuid(1001, 1001, 1001)
        os._exit(0 if os.listxattr('attributed') == ['user.a'] else 1)
    assert os.waitpid(child, 0)[1] == 0


def space():
    count = sum(len(names) for _, _, names in os.walk('.'))
    info = os.statvfs('.')
    assert info.f_files - info.f_ffree == count, (info.f_files - info.f_ffree, count)
    assert info.f_namemax == 255


class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_ulong), ('offset', ctypes.c_long), ('length', ctypes.c_ushort),
                ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]


def directories():
    """telldir, seekdir and rewinddir in a directory that changes."""
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.POINTER(Dirent)
    libc.telldir.restype = ctypes.c_long
    for call in (libc.readdir, libc.telldir, libc.rewinddir):
        call.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    os.mkdir('directory')
    for number in range(1000):
        open(f'directory/{number}', 'w').close()
    stream = libc.opendir(b'directory')

    def names():
        found = []
        while entry := libc.readdir(stream):
            found.append(entry.contents.name)
        return found

    first = [libc.readdir(stream).contents.name for _ in range(300)]
    place = libc.telldir(stream)
    rest = names()
    assert len(set(first + rest)) == 1002
    os.unlink('directory/5')
    libc.seekdir(stream, place)
    assert [name for name in names() if name != b'5'] == [name for name in rest if name != b'5']
    open('directory/new', 'w').close()
    libc.rewinddir(stream)
    now = names()
    assert b'new' in now and b'5' not in now and len(now) == 1002, len(now)


def interrupted(*_):
    raise InterruptedError


def locks():
    fd = create('locked')
    fcntl.lockf(fd, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, interrupted)
        other = os.open('locked', os.O_RDWR)
        refused(errno.EAGAIN, fcntl.lockf, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        signal.alarm(1)
        try:
            fcntl.lockf(other, fcntl.LOCK_EX)
        except InterruptedError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    # F_OFD_SETLK
    lock = struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0)
    owner = create('locked by its description')
    fcntl.fcntl(owner, 37, lock)
    refused(errno.EAGAIN, fcntl.fcntl, create('locked by its description'), 37, lock)


def direct():
    fd = create('direct', os.O_DIRECT)
    pages = mmap.mmap(-1, 8192)
    pages.write(b'd' * 8192)
    assert os.pwrite(fd, pages[:1000], 3) == 1000
    assert os.pread(fd, 2000, 1) == bytes(2) + b'd' * 1000


def stored_holes():
    """Copies of sparse files are sparse, and so is what was published."""
    fd = create('sparse')
    os.ftruncate(fd, 50 << 20)
    os.pwrite(fd, os.urandom(1 << 20), 20 << 20)
    os.fsync(fd)
    os.close(fd)
    assert os.system('cp sparse copy && cmp sparse copy && sync -f .') == 0
    for name in ('sparse', 'copy'):
        assert os.stat(name).st_blocks < 3 << 11, (name, os.stat(name).st_blocks)


for promise in (appenders, shared_maps, huge_files, zeroed_ranges, attributes, directories, locks,
                direct, stored_holes, space):
    promise()
    print('kept:', promise.__name__, flush=True)
