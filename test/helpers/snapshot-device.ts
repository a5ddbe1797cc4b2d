/** Snapshots between test devices: what the crdt thread and the swarm do, by hand. */
import assert from 'node:assert/strict'
import { SnapshotMaker } from '../../src/snapshot/maker.ts'
import { SnapshotTaker } from '../../src/snapshot/taker.ts'
import type { VolumeSecrets } from '../../src/log/keys.ts'
import { seededRandom, TestClock, type TestDevice } from './volume-device.ts'

/** A maker on a device; any log is large enough. */
export function makerOf(device: TestDevice, secrets: VolumeSecrets): SnapshotMaker {
  return new SnapshotMaker({
    volume: device.volume.id,
    device: device.identity.device,
    signing: device.identity.signing,
    keys: secrets.logKeys(),
    feeds: device.feeds,
    rows: device.state.rows,
    disk: device.state.disk,
    clock: new TestClock(),
    random: seededRandom(`${device.name}/snapshot`),
    directory: '/offered',
    logBytes: () => 1,
    logBytesMin: 0,
  })
}

/** A taker on a device. */
export function takerOf(device: TestDevice, secrets: VolumeSecrets): SnapshotTaker {
  return new SnapshotTaker({
    device: device.identity.device,
    keys: secrets.logKeys(),
    feeds: device.feeds,
    rows: device.state.rows,
    volume: device.volume,
    tree: device.tree,
    disk: device.state.disk,
    clock: new TestClock(),
    directory: '/taken',
    onProblem: ({ code, message }) => device.problems.push(`${code}: ${message}`),
  })
}

/** Brings what a maker offers to a taker. `change` may damage a part on its way. */
export async function takeFrom(
  maker: SnapshotMaker,
  taker: SnapshotTaker,
  change: (bytes: Buffer, index: number) => Buffer = (bytes) => bytes,
): Promise<void> {
  const statement = await maker.offer()
  if (!statement) throw new Error('no snapshot is offered')
  for (const [index, { hash }] of taker.begin(statement).entries()) {
    const part = maker.read(hash, 0, Number.MAX_SAFE_INTEGER)
    taker.put(hash, change(Buffer.from(part?.bytes ?? []), index))
  }
  await taker.finish()
}

/** Fetches from a device what is missing below the heads of another. */
export async function backfill(from: TestDevice, to: TestDevice): Promise<void> {
  for (const feed of to.volume.frontier().keys()) {
    for (let gap = to.feeds.gaps(feed)[0]; gap; gap = to.feeds.gaps(feed)[0]) {
      const frames = from.volume.read(feed, gap.from, 4096)
      if (frames.length === 0) break
      assert.equal(await to.volume.receive(feed, frames), 'stored')
      assert.notDeepEqual(to.feeds.gaps(feed)[0], gap)
    }
  }
  await to.volume.settled()
}
