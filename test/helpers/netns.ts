/**
 * Networks of several machines on one: a network namespace per device, each with one virtual cable
 * to a hub that is a namespace of its own. Nothing outside these namespaces is touched.
 *
 * As a `lan` the hub is a bridge and all devices share 10.77.0.0/24, multicast included. As `sites`
 * it is a router: device n alone has 10.77.n.0/24, multicast stays at home, and the router can be
 * told to forward no TCP, as company firewalls do.
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
  /** The device's IPv4 address now. */
  address(name: string): string
  /** Gives the device another IPv4 address, as a lease or another room would. Only in a `lan`. */
  readdress(name: string): void
  /** From now on the router forwards no TCP. Only between `sites`. */
  blockTcp(): void
  /** Pulls the cable of this device, which it notices: its link goes down. */
  cut(name: string): void
  /** Cuts it off somewhere behind its own link: nothing arrives any more, and nobody is told. */
  isolate(name: string): void
  /** Undoes `cut` and `isolate`. */
  heal(name: string): void
  /** Removes all namespaces, and with them all links. Called at the end of the test as well. */
  close(): void
}

/** How the devices of a network lie to each other; see the head of this file. */
export type Layout = 'lan' | 'sites'

const HUB = '10.77.0.1'
const DEVICES_MAX = 60

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
export function createNetwork(
  t: Teardown,
  names: readonly string[],
  layout: Layout = 'lan',
): Network {
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
  if (layout === 'lan') addBridge(hub)
  else addRouter(hub)
  const numbers = new Map(names.map((name, index) => [name, index + 2]))
  /** The device's number. @throws TypeError for a name that is not of this network. */
  const numberOf = (name: string): number => {
    const number = numbers.get(name)
    if (number === undefined) throw new TypeError(`no device ${name} in this network`)
    return number
  }
  const addresses = new Map<string, string>()
  const isolated = new Set<string>()
  for (const [name, number] of numbers) {
    const namespace = `${id}-${name}`
    addNamespace(namespace)
    const cable = ['type', 'veth', 'peer', 'name', `port${number}`, 'netns', hub]
    ip('link', 'add', 'eth0', 'netns', namespace, ...cable)
    const [address, gateway] =
      layout === 'lan' ? [`10.77.0.${number}`, HUB] : [`10.77.${number}.2`, `10.77.${number}.1`]
    setAddress(namespace, address, gateway)
    addresses.set(name, address)
    if (layout === 'lan') ip('-n', hub, 'link', 'set', `port${number}`, 'master', 'br0')
    else ip('-n', hub, 'address', 'add', `${gateway}/24`, 'dev', `port${number}`)
    ip('-n', hub, 'link', 'set', `port${number}`, 'up')
  }
  const enter = (namespace: string): string[] => ['nsenter', `--net=/run/netns/${namespace}`, '--']
  return {
    hub: { address: HUB, prefix: enter(hub) },
    prefix: (name) => {
      numberOf(name)
      return enter(`${id}-${name}`)
    },
    address: (name) => {
      numberOf(name)
      return addresses.get(name) as string
    },
    readdress: (name) => {
      if (layout !== 'lan') throw new TypeError('a device of a site keeps its address')
      const number = Number(addresses.get(name)?.split('.')[3]) + DEVICES_MAX
      if (number > 253) throw new TypeError(`${name} has had four addresses already`)
      addresses.set(name, `10.77.0.${number}`)
      setAddress(`${id}-${name}`, `10.77.0.${number}`, HUB)
    },
    blockTcp: () => {
      if (layout !== 'sites') throw new TypeError('a bridge looks at no protocol')
      ip('-n', hub, 'rule', 'add', 'pref', '10', 'ipproto', 'tcp', 'blackhole')
    },
    cut: (name) => ip('-n', hub, 'link', 'set', `port${numberOf(name)}`, 'down'),
    isolate: (name) => {
      if (layout === 'lan') ip('-n', hub, 'link', 'set', `port${numberOf(name)}`, 'nomaster')
      else for (const rule of isolation(numberOf(name))) ip('-n', hub, 'rule', 'add', ...rule)
      isolated.add(name)
    },
    heal: (name) => {
      const port = `port${numberOf(name)}`
      ip('-n', hub, 'link', 'set', port, 'up')
      if (!isolated.delete(name)) return
      if (layout === 'lan') ip('-n', hub, 'link', 'set', port, 'master', 'br0')
      else for (const rule of isolation(numberOf(name))) ip('-n', hub, 'rule', 'delete', ...rule)
    },
    close,
  }
}

/** Rules of a router that drops everything from and to one site. */
function isolation(number: number): string[][] {
  return [
    ['pref', '5', 'iif', `port${number}`, 'blackhole'],
    ['pref', '6', 'to', `10.77.${number}.0/24`, 'blackhole'],
  ]
}

function addBridge(hub: string): void {
  ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
  ip('-n', hub, 'address', 'add', `${HUB}/24`, 'dev', 'br0')
  ip('-n', hub, 'link', 'set', 'br0', 'up')
}

function addRouter(hub: string): void {
  ip('-n', hub, 'address', 'add', `${HUB}/32`, 'dev', 'lo')
  const setting = ['tee', '/proc/sys/net/ipv4/ip_forward']
  const command = [`--net=/run/netns/${hub}`, '--', ...setting]
  const result = spawnSync('nsenter', command, { input: '1', encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`forwarding in ${hub}: ${result.stderr}`)
}

/** The only address of a device, and the way out. */
function setAddress(namespace: string, address: string, gateway: string): void {
  ip('-n', namespace, 'address', 'flush', 'dev', 'eth0')
  ip('-n', namespace, 'address', 'add', `${address}/24`, 'dev', 'eth0')
  ip('-n', namespace, 'link', 'set', 'eth0', 'up')
  ip('-n', namespace, 'route', 'replace', 'default', 'via', gateway)
}
