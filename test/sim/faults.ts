/** What goes wrong in the simulator, one function for each kind of fault. */
import { hasCode } from '../../src/errors.ts'
import type { Survivors } from '../../src/disk-memory.ts'
import { checkSame, look, type Shown } from './checkers.ts'
import { feedRoot, type ChunkAddress } from '../../src/types.ts'
import type { SimDevice } from './device.ts'
import type { FaultName } from './options.ts'
import type { IndexFate } from '../helpers/mortal-rows.ts'
import type { Simulation } from './simulation.ts'

/** One kind of fault. It may leave the device dead: a later step starts it again. */
export type Fault = (simulation: Simulation, device: SimDevice) => Promise<void>

/** Acknowledged operations that are older survive the death of the daemon, in ms. */
const KEPT_AFTER_MS = 100
const PARTITION_MS_MAX = 30_000
const JUMP_MS_MAX = 100_000
/** Copies of homes that run beside their originals. */
const COPIES_MAX = 2

function powerCut(simulation: Simulation, device: SimDevice): void {
  const { random, trace } = simulation
  const survivors = (['none', 'all', 'some', 'torn'] as Survivors[])[random.below(4)] as Survivors
  const fate = (['kept', 'kept', 'older', 'lost'] as IndexFate[])[random.below(4)] as IndexFate
  trace.add(`${device.name} loses power: ${survivors} survive, index ${fate}`)
  device.powerCut(survivors, fate)
  simulation.revocations.forget()
  simulation.user(device).died(true)
}

function kill(simulation: Simulation, device: SimDevice): void {
  simulation.trace.add(`${device.name} is killed`)
  device.kill()
  simulation.user(device).died(false)
  if (simulation.random.below(6) === 0) device.loseIndex()
}

/** The tree must be the same before a death and after the start, before anything else happens. */
async function acrossDeath(
  simulation: Simulation,
  device: SimDevice,
  die: () => void,
): Promise<void> {
  const before = await look(device, simulation.ledger)
  const isSteady = device.isSteady
  die()
  simulation.network.cut(() => true)
  await simulation.start(device)
  if (device.isAlive && isSteady) {
    const after = await look(device, simulation.ledger)
    const what = `${device.name} before and after its death`
    // Bytes that came from peers may be gone: they are fetched again.
    const hidden = new Set([...before.elsewhere, ...after.elsewhere])
    const known = ({ lines }: Shown): string[] => {
      return lines.filter((line) => ![...hidden].some((path) => line.startsWith(`${path} `)))
    }
    const kept = new Set(known(before))
    // Bytes written on a version that is not the newest show once they are published: as a copy, or
    // under the name, and the version that had it as a copy. Those of a file that the tree has lost
    // come back under a name of their own.
    const isCopy = (line: string): boolean =>
      !kept.has(line) && (line.includes('(conflict') || line.startsWith('/recovered '))
    const copies = known(after).filter(isCopy)
    const left = known(before).filter((line) =>
      copies.some((copy) => {
        const isOf = copy.startsWith(`${pathOf(line)} (conflict`)
        // Once it is published, its name says whose it is.
        const isNamed = line.includes(' this-device') && idOf(copy) === idOf(line)
        return (isOf || isNamed) && tokensOf(copy) === tokensOf(line)
      }),
    )
    // What was appended through a handle older than the newest version, which its own publication
    // has become meanwhile, shows under the name again.
    const grown = known(before).filter((line) => known(after).some((now) => isGrown(line, now)))
    const paths = new Set([...left, ...grown].map(pathOf))
    const isStill = (line: string): boolean => !isCopy(line) && !paths.has(pathOf(line))
    checkSame(known(before).filter(isStill), known(after).filter(isStill), what, 'durability')
  }
  simulation.healNetwork()
}

/** The path that a line of a tree is about. */
function pathOf(line: string): string {
  return line.split(/ [\w-]{16} /)[0] as string
}

/** The inode. */
function idOf(line: string): string | undefined {
  return / ([\w-]{16}) \d+ /.exec(line)?.[1]
}

/** The writes that it tells of. */
function tokensOf(line: string): string {
  return (line.match(/\b[0-9a-z]{7}\b/g) ?? []).join(' ')
}

/** Whether a line tells of the same file with more behind it. */
function isGrown(line: string, now: string): boolean {
  const parts = (text: string) => /^(.* [\w-]{16} \d+ \d+ \S*) \d+ (.+)$/.exec(text)?.slice(1) ?? []
  const [[about, tokens], [aboutNow, tokensNow]] = [parts(line), parts(now)]
  return about !== undefined && about === aboutNow && tokensNow?.startsWith(`${tokens} `) === true
}

/** Dies when everything acknowledged is old enough to survive that. */
async function steadyKill(simulation: Simulation, device: SimDevice): Promise<void> {
  simulation.user(device).closeAll()
  await simulation.clock.run(KEPT_AFTER_MS + 1)
  if (!device.isAlive) return
  if (device.hasTrouble) return kill(simulation, device)
  await acrossDeath(simulation, device, () => kill(simulation, device))
}

/** Loses its power right after a sync of everything. */
async function steadyPowerCut(simulation: Simulation, device: SimDevice): Promise<void> {
  const user = simulation.user(device)
  await user.act('sync', async () => {
    user.closeAll()
    await user.sync()
    if (device.hasTrouble) return powerCut(simulation, device)
    await acrossDeath(simulation, device, () => powerCut(simulation, device))
  })
}

/** Little room for a while; then there is room again. */
async function fullDisk(simulation: Simulation, device: SimDevice): Promise<void> {
  const { random, trace, clock } = simulation
  trace.add(`${device.name} has a full disk`)
  device.disk.capacityBytes = 0
  for (let count = random.below(5); count > 0 && device.canEdit; count--) {
    await simulation.edit(device)
    await clock.run(random.below(150))
  }
  trace.add(`${device.name} has room again`)
  device.disk.capacityBytes = Infinity
}

/** Rots one byte of a pack, of a chunk that somebody else has too. */
async function flippedChunk(simulation: Simulation, device: SimDevice): Promise<void> {
  const { random, trace, alive } = simulation
  // Machines with one key do not speak with each other: what only one of them has, another one of
  // them never gets.
  const others = alive.filter((other) => {
    return other !== device && !other.wasRevoked && !simulation.isOneOfMany(other)
  })
  const packs = device.disk.files().filter((path) => /\/packs\/pack-/.test(path))
  const path = packs[random.below(Math.max(1, packs.length))]
  if (path === undefined || others.length === 0) return
  const shared = sharedChunk(simulation, device, others)
  if (!shared) return
  trace.add(`${device.name} has a rotten chunk`)
  const { address, sealed } = shared
  const file = device.disk.readFileSync(path) as Buffer
  const at = file.indexOf(sealed)
  if (at < 0) return
  device.disk.flip(path, at + random.below(sealed.length), 1 << random.below(8))
  simulation.revocations.rotten.push({ device, address })
}

/** The sealed bytes of a chunk that a device and some other one have, which a cut leaves there. */
function sharedChunk(
  { random }: Simulation,
  device: SimDevice,
  others: readonly SimDevice[],
): { address: ChunkAddress; sealed: Buffer } | undefined {
  const { overlay, store } = device.daemon
  const entries = overlay.list(overlay.root, { countMax: 100 }).entries
  for (let tries = 0; tries < 5 && entries.length > 0; tries++) {
    const entry = entries[random.below(entries.length)]
    const content = entry && overlay.node(entry.id)?.content
    if (content?.kind !== 'file' || content.ref.type !== 'chunk') continue
    const { address } = content.ref
    try {
      // Looking may be what a device dies of.
      const has = (other: SimDevice): boolean =>
        other.isAlive && other.daemon.store.getSync(address) !== undefined
      const isShared = others.some(has)
      const sealed = isShared ? store.getSync(address) : undefined
      if (sealed && others.some((other) => other.keeps(sealed))) return { address, sealed }
    } catch (error) {
      if (!hasCode(error, 'CHUNK_CORRUPT')) throw error
    }
  }
  return undefined
}

async function partition(simulation: Simulation): Promise<void> {
  const { random, devices, network, trace, clock } = simulation
  const groups: string[][] = [[], []]
  for (const { host } of devices) groups[random.below(2)]?.push(host)
  trace.add(`the network falls apart: ${groups.map((group) => group.length).join(' and ')}`)
  network.partition(groups)
  simulation.healAtMs = clock.monotonicMs() + random.below(PARTITION_MS_MAX)
}

/** Goes on from a backup of a while ago, which forks its feed. */
async function restored(simulation: Simulation, device: SimDevice): Promise<void> {
  const { trace, random, clock } = simulation
  const backup = device.backup()
  const backupMs = clock.monotonicMs()
  const user = simulation.user(device)
  const kept = user.kept()
  for (let count = random.below(8); count > 0 && device.canEdit; count--) {
    await simulation.edit(device)
    await clock.run(random.below(300))
  }
  trace.add(`${device.name} is restored from a backup of ${backupMs}`)
  device.powerCut('all', 'kept')
  user.died(true)
  user.restored(backupMs, kept)
  device.wasRestored = true
  device.mayRepeat = true
  device.restore(backup)
  simulation.revocations.forget()
}

/** Its home is copied to another machine, while it rests or while it runs, and both go on. */
async function copied(
  simulation: Simulation,
  device: SimDevice,
  isRunning: boolean,
): Promise<void> {
  if (!device.canEdit || simulation.devices.filter(({ isCopy }) => isCopy).length >= COPIES_MAX) {
    return
  }
  // A copy that knows nobody else lets nobody in, and nobody lets it know.
  const { members } = device.daemon.volume
  const others = simulation.devices.filter(({ id }) => id !== device.id)
  if (!others.some(({ id }) => members.isMember(id))) return
  if (!isRunning) {
    device.kill()
    simulation.user(device).died(false)
  }
  simulation.user(device).halved(simulation.clock.monotonicMs())
  const copy = simulation.addCopy(device)
  simulation.trace.add(`${device.name} is copied while it ${isRunning ? 'runs' : 'rests'}`)
  await simulation.start(copy)
  if (!isRunning) await simulation.start(device)
}

/**
 * Rots a byte of a file in a directory of a device that rests, whose user did something since `run`
 * began that nobody else has heard of. It starts again at once.
 */
async function flip(simulation: Simulation, device: SimDevice, directory: string): Promise<void> {
  const { random, trace, clock, network } = simulation
  network.cut((from, to) => from === device.host || to === device.host)
  for (let count = random.below(5); count > 0 && device.canEdit; count--) {
    await simulation.edit(device)
    await clock.run(random.below(150))
  }
  if (device.isAlive) device.kill()
  simulation.user(device).died(false)
  const files = device.disk.files().filter((path) => path.startsWith(directory))
  const path = files[random.below(Math.max(1, files.length))]
  const bytes = path === undefined ? 0 : (device.disk.readFileSync(path)?.length ?? 0)
  if (path !== undefined && bytes > 0) {
    const at = random.below(bytes)
    trace.add(`${device.name} has a rotten byte at ${at} of ${path.slice(0, 24)}`)
    device.disk.flip(path, at, 1 << random.below(8))
  }
  await simulation.start(device)
  simulation.healNetwork()
}

/** Whether somebody else stores all that a device stores, from the first entries on. */
function isHeld(simulation: Simulation, device: SimDevice): boolean {
  const { volume } = device.daemon
  const tips = [...volume.frontier()].map(([feed, head]) => ({ feed: feedRoot(feed), ...head }))
  const others = simulation.alive.filter(({ id }) => id !== device.id)
  return others.some(({ daemon: { volume, feeds } }) => {
    const isWhole = [...feeds.frontier().keys()].every((feed) => feeds.gaps(feed).length === 0)
    return isWhole && volume.holds(tips).every(Boolean)
  })
}

/** A rotten log: what nobody else has is said anew from the index, the rest comes from others. */
async function flippedLog(simulation: Simulation, device: SimDevice): Promise<void> {
  // Were an admission lost, its newcomer would wait for ever.
  if (!device.canEdit || device.hasTrouble || !isHeld(simulation, device)) return
  device.mayRepeat = true
  await flip(simulation, device, '/log/')
}

/** A rotten journal: what was not published yet may be gone. */
async function flippedJournal(simulation: Simulation, device: SimDevice): Promise<void> {
  const user = simulation.user(device)
  if (!device.canEdit || device.hasTrouble) return
  await user.act('drain', async () => {
    user.closeAll()
    await user.drain()
    const drainedMs = simulation.clock.monotonicMs()
    await flip(simulation, device, '/journal/')
    user.restored(drainedMs)
  })
}

/** Every kind of fault. */
export const FAULT_ACTIONS: Readonly<Record<FaultName, Fault>> = {
  kill: async (simulation, device) => kill(simulation, device),
  powerCut: async (simulation, device) => powerCut(simulation, device),
  die: async ({ random }, device) => device.lightFuse(1 + random.below(60)),
  cleanStop: async (simulation, device) => {
    simulation.trace.add(`${device.name} stops`)
    const user = simulation.user(device)
    await user.act('stop', async () => {
      user.closeAll()
      await device.stop().catch((error: unknown) => {
        // What could not be closed in peace is found again at the next start.
        if (!(error instanceof AggregateError)) throw error
      })
    })
    if (device.isAlive) device.kill()
    user.died(false)
  },
  fullDisk,
  failedSync: async ({ trace }, device) => {
    trace.add(`${device.name}: the next sync fails`)
    device.disk.syncFailures = 1
    device.hasTrouble = true
  },
  flippedChunk,
  partition,
  oneWay: async (simulation, device) => {
    const { network, clock, random, trace } = simulation
    trace.add(`${device.name} hears nobody`)
    network.cut((_, to) => to === device.host)
    simulation.healAtMs = clock.monotonicMs() + random.below(PARTITION_MS_MAX)
  },
  brokenLinks: async ({ network }, device) => network.breakLinks(device.host),
  doubleLinks: async ({ network, random, devices }, device) => {
    const other = devices[random.below(devices.length)] as SimDevice
    try {
      if (other.id !== device.id) network.connect(device.host, { key: other.id }, 'tls')
    } catch (error) {
      if (!hasCode(error, 'PEER_UNREACHABLE') && !hasCode(error, 'NOT_A_MEMBER')) throw error
    }
  },
  clockJump: async ({ random, trace }, device) => {
    device.skewMs = random.below(2 * JUMP_MS_MAX) - JUMP_MS_MAX
    trace.add(`${device.name} sets its clock to ${device.skewMs} ms`)
  },
  steadyKill,
  steadyPowerCut,
  restored,
  copiedHome: (simulation, device) => copied(simulation, device, false),
  copiedProcess: (simulation, device) => copied(simulation, device, true),
  flippedLog,
  flippedJournal,
}
