"""The table: small scenes, each in a directory of its own, crossed with kinds, users and modes."""
import itertools
import os
import stat

from engine import NOW, OMIT

KINDS = ['file', 'directory', 'symlink', 'dangling', 'fifo', 'socket', 'char', 'block']
OTHERS = ['root', 'alice', 'bob', 'carol']
S_ISVTX, S_ISGID, S_ISUID = 0o1000, 0o2000, 0o4000
UIDS = {'root': (0, 0), 'alice': (1001, 1001), 'bob': (1002, 1002), 'carol': (1003, 2000)}
FOLLOW = 0x100


def make(kind, path, mode=0o644):
    """The calls, of root, that make something of a kind."""
    if kind == 'file':
        return [('open', 'made', path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode),
                ('write', 'made', b'some bytes'), ('close', 'made'), ('chmod', path, mode)]
    if kind == 'directory':
        return [('mkdir', path, mode), ('chmod', path, mode)]
    if kind == 'symlink':
        return [('open', 'made', path + b'.target', os.O_CREAT | os.O_WRONLY, 0o666), ('close', 'made'),
                ('symlink', os.path.basename(path) + b'.target', path)]
    if kind == 'dangling':
        return [('symlink', b'nowhere', path)]
    types = {'fifo': stat.S_IFIFO, 'socket': stat.S_IFSOCK, 'char': stat.S_IFCHR, 'block': stat.S_IFBLK}
    device = os.makedev(7, 77) if kind in ('char', 'block') else 0
    return [('mknod', path, types[kind] | mode, device), ('chmod', path, mode)]


def own(path, user):
    return [('lchown', path, *UIDS[user])]


def scene(user, calls, place=b'.', mode=0o777, owner='root', setup=()):
    """Root's preparations, then one user's calls."""
    yield ('setup', ('mkdir', place, 0o755)) if place != b'.' else None
    for call in setup:
        yield ('setup', call)
    yield ('setup', ('lchown', place, *UIDS[owner]))
    yield ('setup', ('chmod', place, mode))
    for call in calls:
        yield (user, call)


def removals():
    calls = [('unlink', b'd/x'), ('rmdir', b'd/x')]
    for kind, call, user, mode, owner in itertools.product(
            KINDS, calls, OTHERS, (0o777, 0o1777, 0o755, 0o555), ('root', 'alice')):
        yield scene(user, [call, ('lstat', b'd/x')], b'd', mode, owner,
                    make(kind, b'd/x') + own(b'd/x', 'bob'))


def renames():
    for kind, over, user, mode in itertools.product(
            KINDS, KINDS + [None, 'full'], ('root', 'bob', 'alice'), (0o777, 0o1777)):
        setup = make(kind, b'd/x') + own(b'd/x', 'bob')
        if over == 'full':
            setup += make('directory', b'd/y') + make('file', b'd/y/z')
        elif over:
            setup += make(over, b'd/y')
        yield scene(user, [('rename', b'd/x', b'd/y'), ('lstat', b'd/y')], b'd', mode, 'root', setup)
    for kind, flags, user in itertools.product(KINDS, (0, 1, 2, 3, 8), ('root', 'alice')):
        setup = make(kind, b'd/x') + make('file', b'd/y') + make('directory', b'd/e') + own(b'd/x', 'alice')
        calls = [('renameat2', b'd/x', b'd/y', flags), ('renameat2', b'd/x', b'd/new', flags),
                 ('renameat2', b'd/e', b'd/x', flags), ('renameat2', b'd/gone', b'd/y', flags)]
        yield scene(user, calls, b'd', 0o777, 'root', setup)
    for user, source, target in itertools.product(OTHERS, (0o777, 0o1777, 0o555), (0o777, 0o1777, 0o555)):
        for kind in ('file', 'directory'):
            setup = [('mkdir', b'd/a', 0o777), ('mkdir', b'd/b', 0o777)] + make(kind, b'd/a/x')
            setup += make(kind, b'd/b/y') + own(b'd/a/x', 'bob') + own(b'd/b/y', 'alice')
            setup += [('chmod', b'd/a', source), ('chmod', b'd/b', target)]
            yield scene(user, [('rename', b'd/a/x', b'd/b/y')], b'd', setup=setup)
            yield scene(user, [('rename', b'd/a/x', b'd/b/n')], b'd', setup=setup)
    deep = make('directory', b'd/a') + make('directory', b'd/a/b') + make('directory', b'd/a/b/c')
    for to in (b'd/a', b'd/a/b', b'd/a/b/c', b'd/a/b/c/e', b'd/.', b'd/..', b'd/a/x/', b'd/x'):
        yield scene('root', [('rename', b'd/a', to)], b'd', setup=deep)
        yield scene('root', [('rename', b'd/a/b', to)], b'd', setup=deep)
        yield scene('root', [('rename', to, b'd/q')], b'd', setup=deep)
    yield scene('root', [('rename', b'x', b'y'), ('lstat', b'x')], setup=make('file', b'x') + [('link', b'x', b'y')])


def links():
    for kind, user, mode in itertools.product(KINDS, OTHERS, (0o777, 0o1777, 0o755)):
        setup = make(kind, b'd/x') + own(b'd/x', 'alice')
        calls = [('link', b'd/x', b'd/y'), ('lstat', b'd/y'), ('link', b'd/x', b'd/y'),
                 ('unlink', b'd/x'), ('lstat', b'd/y'), ('link', b'd/x', b'd/z')]
        yield scene(user, calls, b'd', mode, 'root', setup)
    yield scene('root', [('link', b'a', b'b'), ('chmod', b'b', 0o600), ('chown', b'a', 5, 6),
                         ('truncate', b'b', 3), ('utimens', b'a', ((5, 6), (7, 8))), ('unlink', b'a'),
                         ('lstat', b'b')], setup=make('file', b'a'))


def modes():
    bits = (0, 0o644, 0o755, 0o7777, S_ISVTX | 0o644, S_ISGID | 0o750, S_ISGID | 0o740, S_ISUID | 0o111)
    for kind, user, mode, owner in itertools.product(
            ('file', 'directory', 'fifo', 'socket', 'char'), OTHERS, bits, ('alice', 'carol')):
        setup = make(kind, b'd/x') + own(b'd/x', owner)
        for group in (2000, 1002):
            calls = [('chmod', b'd/x', mode), ('lstat', b'd/x')]
            yield scene(user, calls, b'd', setup=setup + [('lchown', b'd/x', -1, group)])
    for kind, user in itertools.product(('symlink', 'dangling'), OTHERS):
        yield scene(user, [('chmod', b'd/x', 0o600)], b'd', setup=make(kind, b'd/x'))


def owners():
    changes = [(-1, -1), (0, 0), (1001, -1), (-1, 1001), (-1, 2000), (1002, 1002), (1001, 2000), (65534, 65534)]
    for kind, user, change, mode in itertools.product(
            ('file', 'directory', 'symlink', 'fifo', 'char'), OTHERS, changes, (0o644, 0o6755, 0o6744, 0o2745)):
        setup = make(kind, b'd/x', mode) + own(b'd/x', 'alice')
        if kind != 'symlink':
            setup += [('chmod', b'd/x', mode)]
        # The kernel does not let a FUSE file system tell this chown from what precedes a write.
        is_untold = change == (-1, -1) and user not in ('root', 'alice') and mode != 0o644
        if not is_untold:
            yield scene(user, [('lchown', b'd/x', *change), ('lstat', b'd/x')], b'd', setup=setup)
    for change, mode in itertools.product(changes, (0o6755, 0o6644)):
        setup = make('file', b'd/x') + own(b'd/x', 'alice') + [('chmod', b'd/x', mode)]
        calls = [('open', 's', b'd/x', os.O_RDWR), ('fchown', 's', *change), ('fstat', 's'), ('close', 's')]
        yield scene('alice', calls, b'd', setup=setup)
        yield scene('root', calls, b'd', setup=setup)


def sizes():
    for kind, user, mode, size in itertools.product(
            ('file', 'directory', 'symlink', 'dangling', 'fifo', 'char'), OTHERS, (0o644, 0o666, 0o6777, 0o444),
            (0, 5, 100_000, -1)):
        setup = make(kind, b'd/x', mode) + own(b'd/x', 'alice')
        yield scene(user, [('truncate', b'd/x', size), ('stat', b'd/x')], b'd', setup=setup)
    for mode in (0o644, 0o6777):
        calls = [('truncate', b'd/x', 10), ('lstat', b'd/x'), ('open', 's', b'd/x', os.O_RDWR), ('ftruncate', 's', 10), ('fstat', 's'),
                 ('close', 's'), ('open', 's', b'd/x', os.O_WRONLY | os.O_TRUNC), ('close', 's'),
                 ('open', 's', b'd/x', os.O_WRONLY | os.O_TRUNC), ('close', 's'), ('lstat', b'd/x')]
        yield scene('bob', calls, b'd', setup=make('file', b'd/x', mode | 0o022))
        yield scene('root', calls, b'd', setup=make('file', b'd/x', mode))
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_PATH):
        calls = [('open', 's', b'd/x', flags), ('ftruncate', 's', 4), ('fstat', 's'), ('ftruncate', 's', 70_000),
                 ('ftruncate', 's', -1), ('pwrite', 's', b'end', 69_999), ('pread', 's', 100, 69_990),
                 ('fchmod', 's', 0o600), ('fsync', 's'), ('close', 's'), ('text', b'd/x')]
        yield scene('root', calls, b'd', setup=make('file', b'd/x'))
    for mode, user in itertools.product((0o6777, 0o6766, 0o2777, 0o4777), ('root', 'bob', 'carol')):
        for call in (('write', 's', b'x'), ('ftruncate', 's', 2), ('fallocate', 's', 0, 0, 100), ('write', 's', b'')):
            calls = [('open', 's', b'd/x', os.O_RDWR), call, ('fstat', 's'), ('close', 's')]
            yield scene(user, calls, b'd', setup=make('file', b'd/x', mode))
        calls = [('open', 's', b'd/x', os.O_WRONLY | os.O_TRUNC), ('fstat', 's'), ('close', 's')]
        yield scene(user, calls, b'd', setup=make('file', b'd/x', mode))


def creations():
    for user, mask, parent, group in itertools.product(
            OTHERS, (0, 0o022, 0o077), (0o777, 0o2777, 0o1777, 0o3777, 0o755), (0, 2000)):
        setup = [('lchown', b'd', 1001, group)]
        calls = [('umask', mask)]
        for index, mode in enumerate((0o777, 0o6777, 0o2755, 0o1644, 0)):
            calls += [('mkdir', b'd/d%d' % index, mode), ('mkfifo', b'd/f%d' % index, mode),
                      ('open', 's', b'd/o%d' % index, os.O_CREAT | os.O_RDWR, mode), ('close', 's'),
                      ('mknod', b'd/n%d' % index, stat.S_IFREG | mode), ('symlink', b'x', b'd/l%d' % index)]
        for index in range(5):
            calls += [('lstat', b'd/%c%d' % (kind, index)) for kind in b'dfonl']
        calls += [('umask', 0)]
        steps = [step for step in scene(user, calls, b'd', parent, 'root', setup)]
        # `scene` gives the directory to root; the group is to be another.
        at = next(i for i, step in enumerate(steps) if step and step[1][0] == 'chmod')
        steps.insert(at, ('setup', ('lchown', b'd', 1001, group)))
        yield steps
    for kind, user in itertools.product(
            (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR, stat.S_IFLNK, 0), OTHERS):
        yield scene(user, [('mknod', b'x', kind | 0o644, os.makedev(1, 3)), ('lstat', b'x')])


def opens():
    flags = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC,
             os.O_CREAT | os.O_WRONLY, os.O_CREAT | os.O_EXCL | os.O_RDWR, os.O_RDONLY | os.O_NOFOLLOW,
             os.O_RDONLY | os.O_DIRECTORY, os.O_PATH, os.O_WRONLY | os.O_NOFOLLOW, os.O_RDWR | os.O_DIRECT,
             os.O_CREAT | os.O_DIRECTORY, os.O_RDWR | os.O_SYNC, os.O_RDONLY | os.O_NOATIME]
    for kind, flag, user, mode in itertools.product(
            ('file', 'directory', 'symlink', 'dangling', 'fifo', 'socket', 'char', None), flags,
            ('root', 'alice', 'bob'), (0o644, 0o200, 0o000)):
        setup = make(kind, b'd/x', mode) + own(b'd/x', 'alice') if kind else []
        calls = [('open', 's', b'd/x', flag | os.O_NONBLOCK, 0o640), ('close', 's'), ('stat', b'd/x')]
        yield scene(user, calls, b'd', setup=setup)


def times():
    values = [((0, 0), (0, 0)), ((-1, 5), (-100_000, 999_999_999)), ((2**31, 1), (2**32 + 7, 2)),
              ((4_000_000_000, 0), (9_000_000_000, 1)), ((0, NOW), (0, NOW)), ((0, OMIT), (0, OMIT)),
              ((0, OMIT), (5, 5)), ((7, 7), (0, OMIT)), ((0, NOW), (0, OMIT)), ((0, OMIT), (0, NOW)),
              ((0, NOW), (9, 9)), ((3, 3), (0, NOW)), None, ((1, 10**9), (1, 1)), ((1, -1), (1, 1))]
    for kind, user, value, mode in itertools.product(
            ('file', 'directory', 'symlink', 'fifo'), ('root', 'alice', 'bob'), values, (0o644, 0o666, 0o444)):
        setup = make(kind, b'd/x', mode) + own(b'd/x', 'alice')
        yield scene(user, [('utimens', b'd/x', value, FOLLOW), ('lstat', b'd/x')], b'd', setup=setup)
    stays = [('chmod', b'x', 0o600), ('rename', b'x', b'y'), ('link', b'y', b'x'), ('unlink', b'y'),
             ('open', 's', b'x', os.O_RDWR), ('pwrite', 's', b'more', 3), ('fsync', 's'), ('close', 's'),
             ('truncate', b'x', 2), ('setxattr', b'x', 'user.a', b'b'), ('chown', b'x', 3, 4)]
    for set_times in (((111, 222), (333, 444)), ((5, 5), (5, 5)), ((-5, 1), (0, OMIT))):
        calls = [('utimens', b'x', set_times)]
        for call in stays:
            calls += [call, ('utimens', b'x', ((0, OMIT), (0, OMIT))), ('atime', b'x'), ('atime', b'y')]
        yield scene('root', calls, setup=make('file', b'x'))


def names():
    long, too_long = b'n' * 255, b'n' * 256
    for name in (long, too_long, b'\xff\xfe', b'.', b'..', b'...', b'a/', b'a/.', b'a/b', b'', b'new\nline', b'x' * 4090):
        calls = [('mkdir', name, 0o755), ('open', 's', name, os.O_CREAT | os.O_RDWR, 0o644), ('close', 's'),
                 ('symlink', b'target', name), ('mkfifo', name, 0o644), ('link', b'x', name),
                 ('rename', b'x', name), ('lstat', name), ('unlink', name), ('rmdir', name),
                 ('readlink', name), ('chmod', name, 0o700), ('truncate', name, 3)]
        for call in calls:
            yield scene('root', [call, ('list', b'.')], setup=make('file', b'x'))
    for length in (1, 254, 255, 4094, 4095, 4096):
        yield scene('root', [('symlink', b't' * length, b's'), ('readlink', b's'), ('lstat', b's')])
    loop = [('symlink', b'b', b'a'), ('symlink', b'a', b'b')]
    for call in [('open', 's', b'a', os.O_RDONLY), ('stat', b'a'), ('chmod', b'a', 0o600), ('mkdir', b'a/x', 0o700),
                 ('truncate', b'a', 0), ('unlink', b'a/x'), ('link', b'a/x', b'c'), ('rename', b'a/x', b'c'), ('unlink', b'a')]:
        yield scene('root', loop + [call])
        yield scene('root', make('file', b'x') + [tuple(part.replace(b'a', b'x') if isinstance(part, bytes) else part for part in call)])


def extended():
    for kind, user in itertools.product(KINDS, ('root', 'alice', 'bob')):
        setup = make(kind, b'd/x', 0o644) + own(b'd/x', 'alice')
        calls = []
        for name in ('user.a', 'trusted.b', 'security.c', 'system.d', 'other.e', 'user.' + 'n' * 250, 'user.' + 'n' * 251, 'user.'):
            calls += [('setxattr', b'd/x', name, b'value'), ('getxattr', b'd/x', name), ('listxattr', b'd/x'),
                      ('setxattr', b'd/x', name, b'', os.XATTR_CREATE), ('setxattr', b'd/x', name, b'v', os.XATTR_REPLACE),
                      ('removexattr', b'd/x', name), ('removexattr', b'd/x', name),
                      ('setxattr', b'd/x', name, b'v', os.XATTR_REPLACE)]
        yield scene(user, calls, b'd', setup=setup)


def permissions():
    """Who may do what below directories of every mode."""
    calls = [('list', b'd/s'), ('stat', b'd/s/x'), ('open', 's', b'd/s/x', os.O_RDONLY), ('open', 's', b'd/s/x', os.O_RDWR),
             ('open', 's', b'd/s/n', os.O_CREAT | os.O_WRONLY), ('mkdir', b'd/s/m', 0o755), ('unlink', b'd/s/x'),
             ('rename', b'd/s/x', b'd/y'), ('link', b'd/s/x', b'd/y'), ('symlink', b't', b'd/s/l'), ('chmod', b'd/s/x', 0o600),
             ('truncate', b'd/s/x', 1), ('access', b'd/s/x', os.R_OK), ('access', b'd/s/x', os.W_OK), ('access', b'd/s', os.X_OK),
             ('utimens', b'd/s/x', None), ('mkfifo', b'd/s/p', 0o644), ('rmdir', b'd/s'), ('readlink', b'd/s/x')]
    for mode, user, owner, group in itertools.product(
            (0o777, 0o700, 0o070, 0o007, 0o111, 0o666, 0o300, 0o000), ('alice', 'bob', 'carol'), (0, 1001), (2000, 1002)):
        for call in calls:
            setup = [('mkdir', b'd/s', 0o777)] + make('file', b'd/s/x', 0o660)
            setup += [('lchown', b'd/s/x', 1001, 2000), ('lchown', b'd/s', owner, group), ('chmod', b'd/s', mode)]
            yield scene(user, [call, ('close', 's')], b'd', setup=setup)


def handles():
    """What an open file is good for once its name has gone or stands for something else."""
    use = [('fstat', 's'), ('pwrite', 's', b'new', 2), ('pread', 's', 99, 0), ('ftruncate', 's', 3), ('fchmod', 's', 0o600),
           ('fchown', 's', 3, 4), ('futimens', 's', ((1, 2), (3, 4))), ('fstat', 's'), ('pread', 's', 99, 0), ('close', 's')]
    start = make('file', b'x') + make('file', b'y') + [('open', 's', b'x', os.O_RDWR)]
    for call in [('unlink', b'x'), ('rename', b'y', b'x'), ('rename', b'x', b'y'), ('renameat2', b'x', b'y', 2)]:
        yield scene('root', start + [call] + use + [('list', b'.')])
    yield scene('root', make('directory', b'd') + [('open', 's', b'd', os.O_RDONLY), ('rmdir', b'd'), ('fstat', 's'),
                                                   ('fchmod', 's', 0o700), ('fstat', 's'), ('close', 's')])
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL, os.O_RDONLY):
        calls = [('open', 's', b'.', os.O_TMPFILE | flags, 0o640), ('fstat', 's'), ('pwrite', 's', b'x' * 100_000, 7),
                 ('ftruncate', 's', 50_000), ('linkfd', 's', b'linked'), ('fstat', 's'), ('lstat', b'linked'),
                 ('pwrite', 's', b'later', 0), ('linkfd', 's', b'linked'), ('linkfd', 's', b'twice'), ('close', 's'),
                 ('text', b'linked'), ('list', b'.'), ('lstat', b'twice')]
        yield scene('root', calls)
        yield scene('alice', calls, b'.', 0o2777)
        yield scene('alice', calls, b'.', 0o755)


def ranges():
    """fallocate, holes and server-side copies."""
    text = bytes(range(256)) * 1200
    for mode, offset, length in itertools.product(
            (0, 1, 2, 3, 8, 32, 64), (0, 4096, 5000, 200_000, 307_200, 400_000), (0, 1, 4096, 100_000, 500_000)):
        calls = [('open', 's', b'x', os.O_CREAT | os.O_RDWR, 0o644), ('write', 's', text),
                 ('fallocate', 's', mode, offset, length), ('fstat', 's'), ('pread', 's', 1 << 20, 0), ('close', 's'), ('text', b'x')]
        yield scene('root', calls)
    for flags in (os.O_RDONLY, os.O_WRONLY):
        for mode in (0, 3):
            yield scene('root', [('open', 's', b'x', flags), ('fallocate', 's', mode, 0, 10), ('close', 's')], setup=make('file', b'x'))
    calls = [('open', 's', b'x', os.O_CREAT | os.O_RDWR, 0o644), ('fallocate', 's', 0, -1, 5), ('fallocate', 's', 0, 5, -1),
             ('fallocate', 's', 1, 2**62, 2**62), ('close', 's')]
    yield scene('root', calls)
    for whence, offset in itertools.product((os.SEEK_DATA, os.SEEK_HOLE), (0, 1, 5000, 65_536, 200_000, 1_048_576, 2_000_000, -1)):
        calls = [('open', 's', b'x', os.O_CREAT | os.O_RDWR, 0o644), ('pwrite', 's', b'x' * 65_536, 65_536),
                 ('ftruncate', 's', 1_048_576), ('fsync', 's'), ('seek', 's', offset, whence), ('close', 's'),
                 ('open', 's', b'x', os.O_RDONLY), ('seek', 's', offset, whence), ('close', 's')]
        yield scene('root', calls)
    for from_, to, count in itertools.product((0, 5, 4096, 10**6), (0, 7, 4096, 400_000), (0, 10, 4096, 10**6)):
        calls = [('open', 's', b'x', os.O_CREAT | os.O_RDWR, 0o644), ('write', 's', text), ('open', 't', b'y', os.O_CREAT | os.O_RDWR, 0o644),
                 ('write', 't', b'before'), ('copyrange', 's', 't', count, from_, to), ('copyrange', 's', 's', count, from_, to),
                 ('close', 's'), ('close', 't'), ('text', b'x'), ('text', b'y')]
        yield scene('root', calls)


TABLES = [removals, renames, links, modes, owners, sizes, creations, opens, times, names, extended, permissions, handles, ranges]
