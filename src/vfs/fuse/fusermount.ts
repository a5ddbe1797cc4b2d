/**
 * Mounting as an ordinary user: fusermount3, a set-user-ID program of the distribution (package
 * `fuse3`), opens the device, mounts, and passes the descriptor back over a Unix socket
 * (SCM_RIGHTS, unix(7)). Node can receive no descriptor by itself, so socketpair(2) and recvmsg(2)
 * are called through koffi, which is loaded for this and nothing else.
 *
 * The protocol is libfuse's (lib/mount.c, `_FUSE_COMMFD`): one byte of data with the descriptor.
 */
import fs from 'node:fs'
import { WormholeError } from '../../errors.ts'
import { runCommand } from './command.ts'

const AF_UNIX = 1
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000
const MSG_DONTWAIT = 0x40
const MSG_CMSG_CLOEXEC = 0x4000_0000

/** `struct iovec`, `struct msghdr` and one `struct cmsghdr` with a descriptor, on 64-bit Linux. */
const IOVEC_BYTES = 16
const MSGHDR_BYTES = 56
const CONTROL_BYTES = 24
const CONTROL_DESCRIPTOR_AT = 16

/** What is called in the C library. */
interface Sockets {
  /** Two connected sockets; the second one is for the child. */
  pair(): [number, number]
  /** The descriptor that waits in a socket, or undefined. */
  receiveDescriptor(socket: number): number | undefined
}

async function loadSockets(): Promise<Sockets> {
  const { default: koffi } = await import('koffi')
  // Null: the symbols of this process, whichever C library it runs on.
  const library = koffi.load(null)
  const socketpair = library.func('int socketpair(int, int, int, _Out_ int *)')
  const recvmsg = library.func('int64_t recvmsg(int, void *, int)')
  return {
    pair() {
      const sockets: [number, number] = [-1, -1]
      if (socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, sockets) === 0) return sockets
      throw new WormholeError('MOUNT_FAILED', `socketpair failed with errno ${koffi.errno()}`)
    },
    receiveDescriptor(socket) {
      const data = Buffer.alloc(1)
      const control = Buffer.alloc(CONTROL_BYTES)
      const vector = Buffer.alloc(IOVEC_BYTES)
      vector.writeBigUInt64LE(koffi.address(data), 0)
      vector.writeBigUInt64LE(1n, 8)
      const header = Buffer.alloc(MSGHDR_BYTES)
      header.writeBigUInt64LE(koffi.address(vector), 16)
      header.writeBigUInt64LE(1n, 24)
      header.writeBigUInt64LE(koffi.address(control), 32)
      header.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40)
      const count = Number(recvmsg(socket, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC))
      const isComplete = count === 1 && header.readBigUInt64LE(40) >= BigInt(CONTROL_BYTES - 4)
      return isComplete ? control.readInt32LE(CONTROL_DESCRIPTOR_AT) : undefined
    },
  }
}

/**
 * Mounts at `place` (a real path that belongs to this user) with the options of mount(8).
 *
 * @returns the descriptor of the device, which the caller closes.
 * @throws {WormholeError} `MOUNT_UNAVAILABLE` with what to do about it.
 */
export async function mountAsUser(place: string, settings: readonly string[]): Promise<number> {
  const sockets = await loadSockets()
  const [here, there] = sockets.pair()
  try {
    const words = ['fusermount3', '-o', settings.join(','), '--', place]
    const problem = await runCommand(words, { descriptor: there, env: { _FUSE_COMMFD: '3' } })
    const descriptor = problem === undefined ? sockets.receiveDescriptor(here) : undefined
    if (descriptor !== undefined) return descriptor
    throw new WormholeError('MOUNT_UNAVAILABLE', `cannot mount ${place}: ${explain(problem)}`)
  } finally {
    fs.closeSync(here)
    fs.closeSync(there)
  }
}

function explain(problem: string | undefined): string {
  if (problem === undefined) return 'fusermount3 passed no descriptor'
  if (/not found/.test(problem)) {
    return 'fusermount3 is not installed: install the package fuse3, or run the daemon as root'
  }
  if (/failed to open \/dev\/fuse/.test(problem)) {
    return (
      `${problem}: only root may open /dev/fuse here. Allow it (chmod 666 /dev/fuse, for good ` +
      'with a udev rule), or run the daemon as root'
    )
  }
  return problem
}
