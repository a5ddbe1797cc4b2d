/**
 * Proves that ordinary programs work on a real kernel mount of a complete file system. A worker
 * thread serves a `MemoryFileSystem` over both transports; shells, git, python and coreutils are
 * the clients.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TransportKind } from '../../../src/vfs/fuse/interface.ts'
import { createMount, skip } from './harness.ts'

for (const transport of ['epoll', 'pool'] satisfies TransportKind[]) {
  test(`${transport}: files, links, renames, attributes`, { skip }, async (t) => {
    const mount = await createMount(t, { transport })
    assert.equal(await mount.ask('transport'), transport)
    await mount.run(`
      echo hello > a; [ "$(cat a)" = hello ]; echo more >> a; [ "$(wc -l < a)" = 2 ]
      ln a b; [ "$(stat -c %h a)" = 2 ]; ln -s a c; [ "$(readlink c)" = a ]; cmp a c
      mkdir -p d/e/f; mv a d/e/f/a; cmp d/e/f/a b
      echo o > o; mv -n o b || true; [ -e o ]; mv o b2; rm b2
      mv d/e x; [ -f x/f/a ]; rm -rf x; [ ! -e x ]
      chmod 640 b; [ "$(stat -c %a b)" = 640 ]; chown 12:34 b; [ "$(stat -c %u:%g b)" = 12:34 ]
      touch -d '1969-12-31 23:59:58.25 UTC' b; [ "$(stat -c %.2Y b)" = -1.75 ]
      touch -d '2199-02-03 04:05:06.789012345 UTC' b
      [ "$(date -u -r b +%FT%T.%N)" = 2199-02-03T04:05:06.789012345 ]
      mkfifo pipe; [ -p pipe ]; mknod null c 1 3; [ -c null ]; rm pipe null
      truncate -s 5G big; [ "$(stat -c %s big)" = 5368709120 ]; printf end >> big; tail -c 3 big
      truncate -s 3 big; [ "$(stat -c %s big)" = 3 ]
      fallocate -l 1000 big; [ "$(stat -c %s big)" = 1000 ]
      fallocate -n -l 9000 big; [ "$(stat -c %s big)" = 1000 ]
      (exec 3<>open; rm open; echo kept >&3
        [ "$(stat -L -c %h /proc/self/fd/3)" = 0 ]; cat /proc/self/fd/3)
      mkdir full; touch full/x; ! rmdir full 2>/dev/null; rm -r full
      ! cat missing 2>/dev/null; echo late > missing; [ "$(cat missing)" = late ]
      df . > /dev/null; sync -f .; flock b true
    `)
    assert.deepEqual(await mount.ask('bugs'), [])
  })

  test(`${transport}: cp -a, diff -r, ls -lR and rm -rf of a tree`, { skip }, async (t) => {
    const mount = await createMount(t, { transport })
    await mount.run(`
      cp -a /usr/include/linux tree; diff -r /usr/include/linux tree
      list() { (cd $1; find . ! -type d -printf '%p %s %m %T@ %n %U %G\\n' | sort); }
      [ "$(list tree)" = "$(list /usr/include/linux)" ]; ls -lR tree > /dev/null
      tar cf - tree | tar df -; rm -rf tree; [ -z "$(ls -A)" ]
    `)
    assert.deepEqual(await mount.ask('bugs'), [])
  })
}

test('git: init, add, commit, clone, fsck', { skip }, async (t) => {
  const mount = await createMount(t)
  await mount.run(`
    git init -q repo; cd repo; git config user.email t@example.org; git config user.name t
    cp -r /usr/include/rpc /usr/include/arpa . 2>/dev/null || cp -r /usr/include/linux/usb .
    git add .; git commit -qm one; for i in $(seq 100); do echo $i > file$i; done
    git add .; git commit -qm two; git gc -q; git fsck --strict; git status --porcelain
    git checkout -q HEAD~1; [ ! -e file1 ]; git checkout -q -; cd ..; git clone -q repo copy
    diff -r --exclude=.git repo copy
  `)
})

test('O_DIRECT, mmap, seeking and copying sparse files', { skip }, async (t) => {
  const mount = await createMount(t)
  await mount.run(`
    head -c 5000000 /dev/urandom > /tmp/wormhole-fuse-$$; trap 'rm -f /tmp/wormhole-fuse-'$$ EXIT
    dd if=/tmp/wormhole-fuse-$$ of=direct bs=1M oflag=direct,sync 2>/dev/null || true
    dd if=/tmp/wormhole-fuse-$$ of=direct bs=4096 count=1000 oflag=direct 2>/dev/null
    dd if=direct of=back bs=1M iflag=direct 2>/dev/null
    head -c 4096000 back | cmp -n 4096000 - direct
    cp /tmp/wormhole-fuse-$$ plain; cmp plain /tmp/wormhole-fuse-$$
    cp --sparse=always plain sparse; cmp plain sparse; cp --reflink=auto plain auto; cmp plain auto
  `)
  await mount.run(`python3 - <<'END'
import mmap, os
with open('mapped', 'w+b') as f:
    f.truncate(1 << 20)
    with mmap.mmap(f.fileno(), 1 << 20) as m:
        m[0:4] = b'head'; m[(1 << 20) - 4:] = b'tail'; m.flush()
b = open('mapped', 'rb').read()
assert b[:4] == b'head' and b[-4:] == b'tail' and len(b) == 1 << 20
fd = os.open('sparse2', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'x', 1 << 40)
assert os.lseek(fd, 0, os.SEEK_DATA) == 0 and os.pread(fd, 4, (1 << 40) - 3) == b'\\0\\0\\0x'
assert os.copy_file_range(fd, os.open('copied', os.O_WRONLY | os.O_CREAT), 100) == 100
os.posix_fallocate(fd, 0, 10)
END`)
})

test('extended attributes of every size, and refusals', { skip }, async (t) => {
  const mount = await createMount(t)
  await mount.run(`python3 - <<'END'
import errno, os, struct
open('f', 'w').close()
os.setxattr('f', 'user.a', b''); os.setxattr('f', 'user.big', b'\\xff' * 60000)
assert os.getxattr('f', 'user.a') == b'' and os.getxattr('f', 'user.big') == b'\\xff' * 60000
assert sorted(os.listxattr('f')) == ['user.a', 'user.big']
def refused(number, call, *parameters):
    try: call(*parameters)
    except OSError as error: assert error.errno == number, error
    else: raise AssertionError('not refused')
refused(errno.EEXIST, os.setxattr, 'f', 'user.a', b'', os.XATTR_CREATE)
refused(errno.ENODATA, os.setxattr, 'f', 'user.b', b'', os.XATTR_REPLACE)
refused(errno.ENODATA, os.getxattr, 'f', 'user.b')
os.removexattr('f', 'user.a'); refused(errno.ENODATA, os.removexattr, 'f', 'user.a')
acl = struct.pack('<I' + 'HHI' * 3, 2, 1, 7, 2**32 - 1, 4, 7, 2**32 - 1, 32, 7, 2**32 - 1)
refused(errno.EOPNOTSUPP, os.setxattr, 'f', 'system.posix_acl_access', acl)
refused(errno.ENAMETOOLONG, os.mkdir, 'n' * 256)
refused(errno.EEXIST, os.mkdir, 'f'); refused(errno.ENOTDIR, os.stat, 'f/g')
refused(errno.EINVAL, os.readlink, 'f'); refused(errno.ENOENT, os.unlink, 'g')
refused(errno.EOPNOTSUPP, os.open, '.', os.O_TMPFILE | os.O_RDWR)
END`)
})

test('names of any bytes and of 255 bytes survive', { skip }, async (t) => {
  const mount = await createMount(t)
  await mount.run(`python3 - <<'END'
import os
names = [bytes([c]) for c in range(1, 256) if c not in (0x2f, 0x2e)]
names += [b'\\xff\\xfe invalid utf-8', 'grün 文'.encode(), b'n' * 255, b'new\\nline']
for name in names:
    with open(b'./' + name, 'wb') as f: f.write(name)
assert sorted(os.listdir(b'.')) == sorted(names)
for name in names:
    with open(b'./' + name, 'rb') as f: assert f.read() == name
    os.rename(b'./' + name, b'./' + name[::-1])
assert sorted(os.listdir(b'.')) == sorted(name[::-1] for name in names)
END`)
})

test(
  'a directory of 10,000 entries is listed whole, also while it shrinks',
  { skip },
  async (t) => {
    const mount = await createMount(t)
    await mount.run(`python3 - <<'END'
import os
for i in range(10000): os.close(os.open(f'file-{i}', os.O_CREAT | os.O_WRONLY))
assert len(os.listdir('.')) == 10000
END
    [ "$(ls | wc -l)" = 10000 ]; [ "$(ls -l | grep -c file-)" = 10000 ]
    [ "$(find . -type f -size 0 | sort -u | wc -l)" = 10000 ]; rm -rf ./*; [ -z "$(ls -A)" ]`)
    assert.deepEqual(await mount.ask('bugs'), [])
  },
)

test(
  'an ordinary user: modes are checked, set-user-ID bits go when he writes',
  { skip },
  async (t) => {
    const mount = await createMount(t)
    await mount.run(`
    chmod 755 .; echo x > mine; chmod 600 mine; mkdir -m 777 all; echo x > all/s; chmod 6777 all/s
    cat > /tmp/wormhole-fuse-user-$$.py <<'END'
import os
os.setgid(4321); os.setuid(1234)
try: open('mine'); raise SystemExit('may read what is not his')
except PermissionError: pass
assert os.stat('all/s').st_mode & 0o6000 == 0o6000
with open('all/s', 'r+') as f: f.write('y')
assert os.stat('all/s').st_mode & 0o6000 == 0, oct(os.stat('all/s').st_mode)
open('all/his', 'w').close()
assert os.stat('all/his').st_uid == 1234
END
    python3 /tmp/wormhole-fuse-user-$$.py; rm /tmp/wormhole-fuse-user-$$.py
    chmod 4755 all/s; chown 5 all/s; [ "$(stat -c %a all/s)" = 755 ]
  `)
  },
)
