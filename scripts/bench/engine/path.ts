/**
 * The whole path of a create, on two devices of one volume in this thread: from the edit to the log
 * and the index of its author, from the received frame to the index of the other.
 */
import fs from 'node:fs'
import path from 'node:path'
import { volumePaths } from '../../../src/daemon/threads.ts'
import { admissionMessage } from '../../../src/log/membership.ts'
import { identityFromSeed, type Identity } from '../../../src/log/keys.ts'
import { sign, signingKeys } from '../../../src/seal.ts'
import { systemClock, systemRandom } from '../../../src/system.ts'
import type { InodeId } from '../../../src/types.ts'
import { createTestVolume } from '../../../test/helpers/volume-device.ts'
import type { Report } from '../../measure.ts'
import { filesBelow } from '../../workload.ts'
import { EngineDevice, nameOf, randomAddress } from './device.ts'
import { takeRates } from './rates.ts'

const FILE_COUNT = 100_000
const ROUNDS = 7
const GROUPS_PER_ROUND = 40
const GROUP_COUNT = 100
const DIRECTORY_COUNT = 1000
/** Edits in one group while the volume is built: what the publisher takes at most. */
const BUILD_GROUP_COUNT = 2000
/** What one message of a peer carries about. */
const READ_BYTES = 256 * 1024

/** Makes files in directories of `DIRECTORY_COUNT`. */
class Creator {
  readonly #device: EngineDevice
  #directory: InodeId
  #files = 0

  constructor(device: EngineDevice) {
    this.#device = device
    this.#directory = device.overlay.root
  }

  async group(count: number): Promise<void> {
    for (let left = count; left > 0; left--) {
      if (this.#files % DIRECTORY_COUNT === 0) this.#startDirectory()
      this.#device.makeFile(this.#directory, nameOf(this.#files++), randomAddress(), 1000)
    }
    await this.#device.publish()
  }

  #startDirectory(): void {
    const { root } = this.#device.overlay
    this.#directory = this.#device.makeDirectory(root, `directory-${this.#files}`)
  }
}

/** Lets a second device in. */
async function admit(owner: EngineDevice, joiner: Identity): Promise<void> {
  const invite = signingKeys(systemRandom.bytes(32))
  const deviceName = 'bob'
  const boxKey = joiner.box.publicKey
  const request = { volume: owner.volume.id, device: joiner.device, deviceName, boxKey }
  const message = admissionMessage({ ...request, inviteKey: invite.publicKey })
  await owner.volume.write([
    {
      type: 'invite',
      inviteKey: invite.publicKey,
      role: 'writer',
      expiresMs: systemClock.nowMs() + 3_600_000,
      usesMax: 1,
    },
  ])
  await owner.volume.write([
    {
      type: 'admit',
      device: joiner.device,
      deviceName,
      boxKey,
      inviteKey: invite.publicKey,
      signature: sign(invite.secretKey, message),
    },
  ])
}

/** Brings everything that `from` has written to `to`, as a peer's messages would. */
async function deliver(from: EngineDevice, to: EngineDevice): Promise<void> {
  for (;;) {
    const seq = to.volume.frontier().get(from.feed)?.length ?? 0
    const frames = from.volume.read(from.feed, seq, READ_BYTES)
    if (frames.length === 0) break
    // A peer's bytes are fresh memory: nothing that their author remembers of them helps.
    await to.volume.receive(
      from.feed,
      frames.map((frame) => Uint8Array.from(frame)),
    )
  }
  await to.volume.settled()
}

function logBytes(directory: string): number {
  const files = filesBelow(volumePaths(directory).log)
  return files.reduce((sum, file) => sum + fs.statSync(file).size, 0)
}

async function openPair(directory: string) {
  const shared = createTestVolume(Buffer.from(systemRandom.bytes(16)).toString('hex'), systemClock)
  const place = { volume: shared.id, secrets: shared.secrets, first: [shared.genesis] }
  const alice = await EngineDevice.open({
    ...place,
    directory: path.join(directory, 'alice'),
    identity: shared.founder,
    name: 'alice',
  })
  const identity = identityFromSeed(systemRandom.bytes(32))
  await admit(alice, identity)
  const bob = await EngineDevice.open({
    ...place,
    directory: path.join(directory, 'bob'),
    identity,
    name: 'bob',
  })
  return { alice, bob }
}

/** `path_local`, `path_remote`, `log_bytes_per_create`. */
export async function measurePath(report: Report, directory: string): Promise<void> {
  const { alice, bob } = await openPair(directory)
  const creator = new Creator(alice)
  for (let files = 0; files < FILE_COUNT; files += BUILD_GROUP_COUNT) {
    await creator.group(BUILD_GROUP_COUNT)
  }
  await deliver(alice, bob)
  await takeRates(report, {
    rounds: ROUNDS,
    count: GROUPS_PER_ROUND * GROUP_COUNT,
    rows: [
      {
        figure: { name: 'path_local', bar: 4000 },
        work: async () => {
          for (let left = GROUPS_PER_ROUND; left > 0; left--) await creator.group(GROUP_COUNT)
        },
      },
      { figure: { name: 'path_remote', bar: 6000 }, work: () => deliver(alice, bob) },
    ],
  })
  if (bob.overlay.fileCount !== alice.overlay.fileCount) throw new Error('the devices differ')
  // The first group also makes the directory.
  await creator.group(GROUP_COUNT)
  const count = DIRECTORY_COUNT - GROUP_COUNT
  const figure = { name: 'log_bytes_per_create', unit: 'B', better: 'lower', bar: 130 } as const
  await report.measure(figure, async () => {
    const before = logBytes(path.join(directory, 'alice'))
    for (let made = 0; made < count; made += GROUP_COUNT) await creator.group(GROUP_COUNT)
    return (logBytes(path.join(directory, 'alice')) - before) / count
  })
  await alice.close()
  await bob.close()
}
