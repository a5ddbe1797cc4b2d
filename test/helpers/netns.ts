/**
 * Networks of several machines on one: a network namespace per device, each with one virtual cable
 * to a bridge that lives in a namespace of its own. Nothing outside these namespaces is touched.
 *
 * Only the network is separate: commands run with `nsenter --net`, not `ip netns exec`, which would
 * also hide their mounts. Control sockets are files, so they are reached from outside as well.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { atEndOrExit, type Teardown } from './teardown.ts'

/** A network of namespaces. Addresses are private to it. */
export interface Network {
  /** Where a bootstrap node can run, reachable by every device that is not cut off. */
  readonly hub: { readonly address: string; readonly prefix: readonly string[] }
  /** Words to put before a command so that it runs in this device's network. */
  prefix(name: string): readonly string[]
  /** The device's IPv4 address. */
  address(name: string): string
  /** Pulls the cable of this device: its link goes down at the bridge. */
  cut(name: string): void
  /** Puts the cable back. */
  heal(name: string): void
  /** Removes all namespaces, and with them all links. Called at the end of the test as well. */
  close(): void
}

const DEVICES_MAX = 200

function ip(...args: string[]): void {
  const result = spawnSync('ip', args, { encoding: 'utf8' })
  if (result.error) throw result.error
  if (result.status !== 0) throw new Error(`ip ${args.join(' ')}: ${result.stderr.trim()}`)
}

/** Why namespaces cannot be made here; undefined when they can. For `test(…, { skip })`. */
export function whyNoNetwork(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const name = `wh-try-${randomBytes(3).toString('hex')}`
  const made = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' })
  if (made.status !== 0) {
    return `network namespaces cannot be made: ${made.error?.message ?? made.stderr.trim()}`
  }
  spawnSync('ip', ['netns', 'delete', name])
  return undefined
}

/** Makes a network with one device per name; it is removed at the end of `t`. */
export function createNetwork(t: Teardown, names: readonly string[]): Network {
  if (names.length > DEVICES_MAX) throw new TypeError(`${names.length} devices in one network`)
  const id = `wh-${randomBytes(3).toString('hex')}`
  const hub = `${id}-hub`
  const made: string[] = []
  const close = (): void => {
    for (const namespace of made.splice(0)) ip('netns', 'delete', namespace)
  }
  atEndOrExit(t, close)

  const addNamespace = (namespace: string): void => {
    ip('netns', 'add', namespace)
    made.push(namespace)
    ip('-n', namespace, 'link', 'set', 'lo', 'up')
  }
  addNamespace(hub)
  ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
  ip('-n', hub, 'address', 'add', '10.77.0.1/24', 'dev', 'br0')
  ip('-n', hub, 'link', 'set', 'br0', 'up')
  const numbers = new Map(names.map((name, index) => [name, index + 2]))
  /** The device's number. @throws TypeError for a name that is not of this network. */
  const numberOf = (name: string): number => {
    const number = numbers.get(name)
    if (number === undefined) throw new TypeError(`no device ${name} in this network`)
    return number
  }
  for (const [name, number] of numbers) {
    const namespace = `${id}-${name}`
    addNamespace(namespace)
    const cable = ['type', 'veth', 'peer', 'name', `port${number}`, 'netns', hub]
    ip('link', 'add', 'eth0', 'netns', namespace, ...cable)
    ip('-n', namespace, 'address', 'add', `10.77.0.${number}/24`, 'dev', 'eth0')
    ip('-n', namespace, 'link', 'set', 'eth0', 'up')
    ip('-n', namespace, 'route', 'add', 'default', 'via', '10.77.0.1')
    ip('-n', hub, 'link', 'set', `port${number}`, 'master', 'br0', 'up')
  }
  const enter = (namespace: string): string[] => ['nsenter', `--net=/run/netns/${namespace}`, '--']
  return {
    hub: { address: '10.77.0.1', prefix: enter(hub) },
    prefix: (name) => {
      numberOf(name)
      return enter(`${id}-${name}`)
    },
    address: (name) => `10.77.0.${numberOf(name)}`,
    cut: (name) => ip('-n', hub, 'link', 'set', `port${numberOf(name)}`, 'down'),
    heal: (name) => ip('-n', hub, 'link', 'set', `port${numberOf(name)}`, 'up'),
    close,
  }
}
