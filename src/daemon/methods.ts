/**
 * What may be asked over the control socket: one row per method, with the fields of its parameters.
 * The table is the one place that joins the protocol to the handles of interface.ts; its types are
 * what the client offers.
 *
 * The socket is private to its owner, so parameters are checked for sense, not for hostility.
 */
import { WormholeError, hasCode } from '../errors.ts'
import type { DeviceId, Role } from '../types.ts'
import { cutPieces, type Progress } from './frames.ts'
import type { GcReport, HomeHandle, StatusReport, VerifyReport, VolumeHandle } from './interface.ts'
import type { PinRunReport, SinceOfflineReport, UnpinReport } from './offline-interface.ts'
import { chooseVolume, locate } from './target.ts'
import { VERSION } from './version.ts'
import type { OwnerChoice } from '../vfs/interface.ts'

const ROLES: readonly Role[] = ['admin', 'writer', 'reader']

/** One running request, as a method sees it. */
export interface Call {
  readonly home: HomeHandle
  /** Aborted when the client cancels or leaves, or the daemon stops. */
  readonly signal: AbortSignal
  /** Bytes the client sends. */
  readonly input: AsyncIterable<Uint8Array>
  progress(progress: Progress): void
  /** Sends at most `PIECE_BYTES_MAX` bytes; resolves when more may follow. Do not change them. */
  output(bytes: Uint8Array): Promise<void>
  /** Stops the daemon after the answer. */
  stop(): void
}

/** Types of parameters; `?` may be absent. `labels` is a map of texts. */
type Field = 'text' | 'text?' | 'number' | 'number?' | 'flag?' | 'labels?'
type Shape = Readonly<Record<string, Field>>

interface FieldTypes {
  text: string
  'text?': string | undefined
  number: number
  'number?': number | undefined
  'flag?': boolean | undefined
  'labels?': Record<string, string> | undefined
}
type OptionalKeys<S extends Shape> = {
  [K in keyof S]: S[K] extends `${string}?` ? K : never
}[keyof S]
type ParamsOf<S extends Shape> = {
  readonly [K in Exclude<keyof S, OptionalKeys<S>>]: FieldTypes[S[K]]
} & { readonly [K in OptionalKeys<S>]?: FieldTypes[S[K]] }

interface Method<S extends Shape, R> {
  readonly shape: S
  run(call: Call, params: ParamsOf<S>): Promise<R>
}

function method<S extends Shape, R>(
  shape: S,
  run: (call: Call, params: ParamsOf<S>) => Promise<R>,
): Method<S, R> {
  return { shape, run }
}

const inVolume = { volume: 'text?', cwd: 'text' } as const
const atPath = { ...inVolume, path: 'text' } as const

/** Every method. */
export const methods = {
  status: method({ ...inVolume }, async ({ home }, params): Promise<StatusReport> => {
    const chosen = params.volume === undefined ? home.volumes() : [chooseVolume(home, params)]
    return {
      home: home.home,
      daemonPid: process.pid,
      version: VERSION,
      device: { id: home.device.id, name: home.device.name },
      volumes: await Promise.all(chosen.map((volume) => volume.status())),
    }
  }),
  devices: method({ ...inVolume }, ({ home }, params) => chooseVolume(home, params).devices()),
  peers: method({ ...inVolume }, ({ home }, params) => chooseVolume(home, params).peers()),
  sync: method(
    { ...inVolume, timeoutMs: 'number', require: 'number?' },
    (call, { timeoutMs, require, ...words }) =>
      chooseVolume(call.home, words).sync(
        { timeoutMs, require, signal: call.signal },
        call.progress,
      ),
  ),
  verify: method(
    { ...inVolume, isRepair: 'flag?', isRebuild: 'flag?' },
    async (call, { isRepair = false, isRebuild = false, ...words }): Promise<VerifyReport[]> => {
      const { home, signal } = call
      const chosen = words.volume === undefined ? home.volumes() : [chooseVolume(home, words)]
      const reports: VerifyReport[] = []
      for (const volume of chosen) {
        reports.push(await volume.verify({ isRepair, isRebuild, signal }, call.progress))
      }
      return reports
    },
  ),
  gc: method(
    { ...inVolume, isDryRun: 'flag?' },
    async (call, { isDryRun = false, ...words }): Promise<GcReport[]> => {
      const { home, signal } = call
      const chosen = words.volume === undefined ? home.volumes() : [chooseVolume(home, words)]
      const reports: GcReport[] = []
      for (const volume of chosen) {
        reports.push(await volume.gc({ isDryRun, signal }, call.progress))
      }
      return reports
    },
  ),
  /** What others changed meanwhile, of every volume or the chosen one. */
  sinceOffline: method(
    { ...inVolume, countMax: 'number' },
    ({ home }, { countMax, ...words }): Promise<SinceOfflineReport[]> => {
      const chosen = words.volume === undefined ? home.volumes() : [chooseVolume(home, words)]
      return Promise.all(chosen.map((volume) => volume.sinceOffline({ countMax })))
    },
  ),
  pin: method(atPath, async ({ home }, params) => {
    const { volume, path } = locate(home, params)
    return { volume: volume.name, ...(await volume.pins.pin(path)) }
  }),
  /** How far a pin is; `isAwaited`: when it is complete, or cannot be completed now. */
  pinReport: method(
    { ...atPath, isAwaited: 'flag?' },
    async (call, { isAwaited, ...params }): Promise<PinRunReport> => {
      const { volume, path } = locate(call.home, params)
      const report = isAwaited
        ? await volume.pins.wait(path, call.signal, call.progress)
        : await volume.pins.look(path)
      return { volume: volume.name, ...report }
    },
  ),
  unpin: method(atPath, async ({ home }, params): Promise<UnpinReport> => {
    const { volume, path } = locate(home, params)
    return { volume: volume.name, ...(await volume.pins.unpin(path)) }
  }),
  pins: method({ ...inVolume }, ({ home }, params) => chooseVolume(home, params).pins.list()),
  where: method(atPath, ({ home }, params) => {
    const { volume, path } = locate(home, params)
    return volume.where(path)
  }),
  history: method(atPath, ({ home }, params) => {
    const { volume, path } = locate(home, params)
    return volume.tree.history(path)
  }),
  conflicts: method(atPath, ({ home }, params) => {
    const { volume, path } = locate(home, params)
    return volume.tree.conflicts(path)
  }),
  /** `keep`: a number from 1, both, newest, mine, theirs. */
  resolveConflict: method({ ...atPath, keep: 'text' }, async ({ home }, { keep, ...params }) => {
    const { volume, path } = locate(home, params)
    return (await volume.tree.resolveConflict({ path, keep })) ?? null
  }),
  resolveConflicts: method(
    { ...atPath, keep: 'text', isPreview: 'flag?' },
    ({ home }, { keep, isPreview = false, ...params }) => {
      const { volume, path } = locate(home, params)
      return volume.tree.resolveConflicts({ path, keep, isPreview })
    },
  ),
  /** `to` is a path like `path`. */
  restore: method(
    { ...atPath, version: 'text?', atMs: 'number?', to: 'text?', isPreview: 'flag?' },
    ({ home }, { version, atMs, to, isPreview = false, ...params }) => {
      const { volume, path } = locate(home, params)
      const target = to === undefined ? undefined : locate(home, { ...params, path: to })
      if (target && target.volume !== volume) {
        throw new WormholeError('BAD_ARGUMENT', `${to} is in another volume`)
      }
      return volume.tree.restore({
        path,
        isPreview,
        ...(version === undefined ? {} : { version }),
        ...(atMs === undefined ? {} : { atMs }),
        ...(target ? { to: target.path } : {}),
      })
    },
  ),
  policyCheck: method(atPath, ({ home }, params) => {
    const { volume, path } = locate(home, params)
    return volume.tree.policyCheck(path)
  }),
  policyExplain: method({ ...atPath, device: 'text?' }, ({ home }, { device, ...params }) => {
    const { volume, path } = locate(home, params)
    return volume.tree.policyExplain({ path, ...(device === undefined ? {} : { device }) })
  }),
  list: method({ ...inVolume, path: 'text?' }, ({ home }, params) => {
    const { volume, path } = locate(home, params)
    return volume.list(path)
  }),
  /** The file's bytes are the output. */
  read: method({ ...atPath, version: 'text?' }, async (call, params) => {
    const { volume, path } = locate(call.home, params)
    for await (const bytes of volume.read(path, params.version, call.signal)) {
      for (const piece of cutPieces(bytes)) await call.output(piece)
    }
    return null
  }),
  /** The input is the file's bytes. */
  write: method({ ...atPath, mode: 'number?' }, (call, params) => {
    const { volume, path } = locate(call.home, params)
    const { mode } = params
    return volume.write(path, call.input, mode === undefined ? {} : { mode })
  }),
  makeDirectory: method({ ...atPath, isWithParents: 'flag?' }, async ({ home }, params) => {
    const { volume, path } = locate(home, params)
    if (params.isWithParents) await makeDirectories(volume, path)
    else await volume.makeDirectory(path)
    return { volume: volume.name, path }
  }),
  remove: method({ ...atPath, isRecursive: 'flag?' }, async ({ home }, params) => {
    const { volume, path } = locate(home, params)
    await volume.remove(path, params.isRecursive ?? false)
    return { volume: volume.name, path }
  }),
  createInvite: method(
    { ...inVolume, role: 'text', days: 'number', uses: 'number', recovery: 'text?' },
    ({ home }, { role, days, uses, recovery, ...words }) => {
      const volume = chooseVolume(home, words)
      if (recovery !== undefined) return volume.recoveryInvite(recovery)
      return volume.createInvite({ role: checkRole(role), days, uses })
    },
  ),
  /** `device` is a whole id. */
  revoke: method({ ...inVolume, device: 'text' }, ({ home }, { device, ...words }) =>
    chooseVolume(home, words).revoke(device as DeviceId),
  ),
  /** `directory` is absolute. */
  mount: method({ ...inVolume, directory: 'text', owner: 'text?' }, async ({ home }, params) => {
    const volume = chooseVolume(home, params)
    const { mountpoint } = await volume.mount(params.directory, ownerChoice(params.owner))
    return { volume: volume.name, mountpoint }
  }),
  /** Tries again what could not be mounted when the daemon started; `status` tells the outcome. */
  restoreMounts: method({}, async ({ home }) => {
    for (const volume of home.volumes()) {
      if ((await volume.status()).mountFailure) await volume.restoreMount()
    }
    return null
  }),
  /** The volume mounted at `directory`, or the chosen one. */
  unmount: method({ ...inVolume, directory: 'text?' }, async ({ home }, params) => {
    const volume =
      params.directory === undefined
        ? chooseVolume(home, params)
        : home.volumes().find(({ mountpoint }) => mountpoint === params.directory)
    if (!volume) throw new WormholeError('NOT_FOUND', `nothing is mounted at ${params.directory}`)
    const mountpoint = volume.mountpoint
    await volume.unmount()
    return { volume: volume.name, mountpoint }
  }),
  /** `isAnother`: also when the home has a volume. */
  create: method(
    {
      name: 'text',
      mount: 'text?',
      owner: 'text?',
      deviceName: 'text?',
      labels: 'labels?',
      isAnother: 'flag?',
    },
    async ({ home }, { name, mount, owner, deviceName, labels, isAnother }) => {
      if (!isAnother) checkFirst(home)
      return home.create({
        name,
        mount,
        owner: ownerChoice(owner),
        deviceName,
        labels: labels ?? {},
      })
    },
  ),
  join: method(
    { invite: 'text', mount: 'text?', owner: 'text?', deviceName: 'text?', labels: 'labels?' },
    (call, { invite, mount, owner, deviceName, labels }) =>
      call.home.join(
        {
          invite,
          mount,
          owner: ownerChoice(owner),
          deviceName,
          labels: labels ?? {},
          signal: call.signal,
        },
        call.progress,
      ),
  ),
  /** Answers first, then the daemon closes everything and ends. */
  stop: method({}, async (call) => {
    call.stop()
    return { pid: process.pid }
  }),
}

/** A method's name. */
export type MethodName = keyof typeof methods
/** What a method takes. */
export type MethodParams<M extends MethodName> = Parameters<(typeof methods)[M]['run']>[1]
/** What a method answers. */
export type MethodResult<M extends MethodName> = Awaited<ReturnType<(typeof methods)[M]['run']>>

/** Checks and runs one request. @throws `UNSUPPORTED`, `BAD_ARGUMENT`, and as the method does. */
export function runMethod(call: Call, name: string, params: unknown): Promise<unknown> {
  if (!Object.hasOwn(methods, name)) {
    throw new WormholeError('UNSUPPORTED', `this daemon (${VERSION}) does not know "${name}"`)
  }
  const found = methods[name as MethodName] as unknown as Method<Shape, unknown>
  return found.run(call, checkParams(name, found.shape, params))
}

function checkParams(name: string, shape: Shape, params: unknown): ParamsOf<Shape> {
  if (typeof params !== 'object' || params === null) {
    throw new WormholeError('BAD_ARGUMENT', `${name}: the parameters must be a map`)
  }
  const checked: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(params)) {
    const field = shape[key]
    if (field === undefined) throw new WormholeError('BAD_ARGUMENT', `${name}: unknown ${key}`)
    if (value !== null && value !== undefined) checked[key] = value
  }
  for (const [key, field] of Object.entries(shape)) {
    if (checked[key] === undefined ? !field.endsWith('?') : !isA(field, checked[key])) {
      throw new WormholeError('BAD_ARGUMENT', `${name}: ${key} must be a ${field.replace('?', '')}`)
    }
  }
  return checked as ParamsOf<Shape>
}

function isA(field: Field, value: unknown): boolean {
  switch (field) {
    case 'text':
    case 'text?':
      return typeof value === 'string'
    case 'number':
    case 'number?':
      return typeof value === 'number' && Number.isFinite(value) && value >= 0
    case 'flag?':
      return typeof value === 'boolean'
    case 'labels?':
      return (
        typeof value === 'object' &&
        value !== null &&
        Object.values(value).every((text) => typeof text === 'string')
      )
  }
}

/** Makes `path` and what is missing above it; a directory that is there is fine. */
async function makeDirectories(volume: VolumeHandle, path: string): Promise<void> {
  const names = path.split('/').filter((name) => name !== '')
  for (let depth = 1; depth <= names.length; depth++) {
    const each = `/${names.slice(0, depth).join('/')}`
    try {
      await volume.makeDirectory(each)
    } catch (error) {
      if (!hasCode(error, 'ALREADY_EXISTS')) throw error
      const [first, ...others] = depth < names.length ? [] : await volume.list(each)
      if (first?.path === each && first.type !== 'directory' && others.length === 0) throw error
    }
  }
}

/** @throws `ALREADY_EXISTS` when the home has a volume: who repeats `init` wants that one. */
function checkFirst(home: HomeHandle): void {
  const [volume, ...others] = home.volumes()
  if (volume === undefined) return
  const more = others.length > 0 ? ` and ${others.length} more` : ''
  throw new WormholeError(
    'ALREADY_EXISTS',
    `this home has the volume ${volume.name}${more} already: \`wormhole status\` shows it, ` +
      '`wormhole mount DIR` mounts it, `wormhole init --another` makes one more',
  )
}

/** @throws {WormholeError} `BAD_ARGUMENT` for a word that is no choice. */
function ownerChoice(text: string | undefined): OwnerChoice | undefined {
  if (text === undefined || text === 'numeric' || text === 'mounter') return text
  throw new WormholeError('BAD_ARGUMENT', `there is no owner ${text}, only numeric and mounter`)
}

function checkRole(text: string): Role {
  const role = ROLES.find((known) => known === text)
  if (!role) {
    throw new WormholeError('BAD_ARGUMENT', `there is no role ${text}, only ${ROLES.join(', ')}`)
  }
  return role
}
