/** The checks of `wormhole doctor`: facts about this machine, each with what to do about it. */
import dgram from 'node:dgram'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import type { StatusReport } from '../daemon/interface.ts'
import { probeMounts } from '../daemon/mounts.ts'
import { homeFiles, networkOptions, socketPath } from '../daemon/paths.ts'
import { VERSION } from '../daemon/version.ts'
import { hasCode } from '../errors.ts'
import { systemClock } from '../system.ts'
import type { Context } from './context.ts'
import { formatBytes } from './format.ts'
import type { Check } from './interface.ts'

const NODE_MAJOR_MIN = 20
/** Below this a warning, and below a tenth of it a failure. */
const FREE_BYTES_MIN = 1024 * 1024 * 1024
/** No clock that is right shows an earlier time than that of this program: 2025-01-01 UTC. */
const CLOCK_MS_MIN = Date.UTC(2025, 0, 1)

type Finding = Omit<Check, 'name'>

/** Runs every check. A check that breaks is a failed check, not a failed doctor. */
export async function checkMachine(context: Context): Promise<Check[]> {
  const checks: [string, () => Finding | Promise<Finding>][] = [
    ['node', checkNode],
    ['clock', checkClock],
    ['fuse', checkFuse],
    ['mount', checkMountProgram],
    ['environment', () => checkEnvironment(context)],
    ['home', () => checkHome(context)],
    ['disk', () => checkDisk(context)],
    ['udp', () => checkUdp(context)],
    ['tcp', () => checkTcp(context)],
    ['mounts', checkMounts],
    ['daemon', () => checkDaemon(context)],
  ]
  const results: Check[] = []
  for (const [name, check] of checks) results.push({ name, ...(await runCheck(check)) })
  return results
}

async function runCheck(check: () => Finding | Promise<Finding>): Promise<Finding> {
  try {
    return await check()
  } catch (error) {
    const isExpected = error instanceof Error && 'code' in error
    if (!isExpected) throw error
    return { state: 'failed', message: error.message, advice: 'fix this, then run doctor again' }
  }
}

function ok(message: string): Finding {
  return { state: 'ok', message }
}

function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0])
  if (major >= NODE_MAJOR_MIN) return ok(`node ${process.versions.node}, wormhole ${VERSION}`)
  return {
    state: 'failed',
    message: `node ${process.versions.node} is too old`,
    advice: `install node ${NODE_MAJOR_MIN} or newer`,
  }
}

function checkClock(): Finding {
  const nowMs = systemClock.nowMs()
  const text = new Date(nowMs).toISOString()
  if (nowMs >= CLOCK_MS_MIN) return ok(text)
  return {
    state: 'failed',
    message: `the clock shows ${text}, which is in the past`,
    advice: 'set it, and keep it set with NTP: invites expire by it and versions are ranked by it',
  }
}

function checkFuse(): Finding {
  const device = '/dev/fuse'
  const without = 'until then use: wormhole ls, cat, put, get'
  const stat = fs.statSync(device, { throwIfNoEntry: false })
  if (!stat) {
    const message = `there is no ${device}, so nothing can be mounted`
    return {
      state: 'warning',
      message,
      advice: `load the kernel module (modprobe fuse); ${without}`,
    }
  }
  try {
    fs.closeSync(fs.openSync(device, 'r+'))
    return ok(`${device} can be opened`)
  } catch (error) {
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0')
    const reason = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    return {
      state: 'warning',
      message: `${device} (mode ${mode}, owner ${stat.uid}) cannot be opened: ${reason}`,
      advice: `allow it (as root: chmod 666 ${device}), or run the daemon as root; ${without}`,
    }
  }
}

/** Where system programs are, whatever PATH says. */
const PROGRAM_PLACES = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/usr/local/bin']

function findProgram(name: string): string | undefined {
  return PROGRAM_PLACES.map((place) => path.join(place, name)).find((file) => fs.existsSync(file))
}

function checkMountProgram(): Finding {
  const isRoot = process.getuid?.() === 0
  const name = isRoot ? 'mount' : 'fusermount3'
  const found = findProgram(name)
  if (found === undefined) {
    const advice = `install ${isRoot ? 'util-linux' : 'fuse3, or run the daemon as root'}`
    return { state: 'warning', message: `${name} is not installed`, advice }
  }
  if (isRoot) return ok(`mounting as root with ${found}`)
  const { mode, uid } = fs.statSync(found)
  if (uid === 0 && (mode & 0o4000) !== 0) return ok(`mounting as this user with ${found}`)
  const message = `${found} does not run as root, so it cannot mount`
  return { state: 'warning', message, advice: `as root: chmod u+s ${found}` }
}

function checkEnvironment(context: Context): Finding {
  const { bootstrap, bind } = networkOptions(context.io.env)
  socketPath(context.io.env, process.getuid?.() ?? 0, context.home)
  const nodes = bootstrap?.map(({ host, port }) => `${host}:${port}`).join(', ')
  const finder =
    nodes === undefined ? 'the public DHT' : nodes === '' ? 'the local network only' : nodes
  return ok(`devices are found by ${finder}; listening on ${bind?.host ?? 'every address'}`)
}

function checkHome(context: Context): Finding {
  const { home } = context
  const stat = fs.statSync(home, { throwIfNoEntry: false })
  if (!stat) return ok(`${home} does not exist yet`)
  const uid = process.getuid?.() ?? 0
  if (!stat.isDirectory() || stat.uid !== uid) {
    const message = `${home} does not belong to user ${uid}`
    return { state: 'failed', message, advice: 'set WORMHOLE_HOME to a directory of your own' }
  }
  if ((stat.mode & 0o077) !== 0) {
    const message = `others may look into ${home}, where the keys are`
    return { state: 'warning', message, advice: `run: chmod 700 ${home}` }
  }
  return ok(`${home}, log in ${homeFiles(home).log}`)
}

function checkDisk(context: Context): Finding {
  let place = context.home
  while (!fs.existsSync(place)) place = path.dirname(place)
  const { bavail, bsize } = fs.statfsSync(place)
  const freeBytes = bavail * bsize
  const message = `${formatBytes(freeBytes)} free at ${place}`
  if (freeBytes >= FREE_BYTES_MIN) return ok(message)
  const state = freeBytes < FREE_BYTES_MIN / 10 ? 'failed' : 'warning'
  return { state, message, advice: 'free some space: edits are refused on a full disk' }
}

async function checkUdp(context: Context): Promise<Finding> {
  const { bind } = networkOptions(context.io.env)
  const socket = dgram.createSocket(bind && net.isIPv6(bind.host) ? 'udp6' : 'udp4')
  try {
    socket.bind({ port: 0, ...(bind ? { address: bind.host } : {}) })
    await once(socket, 'listening')
    return ok(`can listen on ${bind?.host ?? 'every address'}`)
  } catch (error) {
    return bindFinding('UDP', bind?.host, error)
  } finally {
    socket.close()
  }
}

async function checkTcp(context: Context): Promise<Finding> {
  const { bind } = networkOptions(context.io.env)
  const server = net.createServer()
  try {
    server.listen({ port: 0, ...(bind ? { host: bind.host } : {}) })
    await once(server, 'listening')
    return ok(`can listen on ${bind?.host ?? 'every address'}`)
  } catch (error) {
    return bindFinding('TCP', bind?.host, error)
  } finally {
    server.close()
  }
}

function bindFinding(protocol: string, host: string | undefined, error: unknown): Finding {
  const reason = error instanceof Error ? error.message : String(error)
  return {
    state: 'failed',
    message: `cannot listen on ${protocol} ${host ?? '(every address)'}: ${reason}`,
    advice: host
      ? 'set WORMHOLE_BIND to an address of this machine'
      : 'check the firewall and limits',
  }
}

async function checkMounts(): Promise<Finding> {
  const mounts = await probeMounts(systemClock)
  const sick = mounts.filter(({ state }) => state !== 'alive')
  if (sick.length === 0) {
    return ok(mounts.length === 0 ? 'none' : mounts.map(({ directory }) => directory).join(', '))
  }
  const commands = sick.map(({ directory }) => `umount -l ${directory}`).join('; ')
  return {
    state: 'failed',
    message: sick.map(({ directory, state }) => `${directory} is ${state}`).join(', '),
    advice: `run: wormhole up, or: ${commands}`,
  }
}

async function checkDaemon(context: Context): Promise<Finding> {
  let status: StatusReport
  try {
    status = await context.call('status', { cwd: context.io.cwd })
  } catch (error) {
    if (hasCode(error, 'DAEMON_NOT_RUNNING')) {
      return { state: 'warning', message: error.message, advice: 'run: wormhole up' }
    }
    const message = error instanceof Error ? error.message : String(error)
    const advice = `see ${homeFiles(context.home).log}; then: wormhole down; wormhole up`
    return { state: 'failed', message, advice }
  }
  const problems = status.volumes.flatMap((volume) => volume.problems)
  const where = `process ${status.daemonPid}, ${status.volumes.length} volumes`
  if (status.version !== VERSION) {
    const message = `${where}, is version ${status.version}, this program ${VERSION}`
    return { state: 'warning', message, advice: 'run: wormhole down; wormhole up' }
  }
  if (problems.length === 0) return ok(where)
  const message = `${where}; ${problems.map((one) => `${one.code}: ${one.message}`).join('; ')}`
  return { state: 'warning', message, advice: 'see: wormhole status' }
}
