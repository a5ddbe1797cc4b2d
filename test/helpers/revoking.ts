/** Volumes of several devices on memory ports in which admins revoke, and what is asked of them. */
import assert from 'node:assert/strict'
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import { MemoryDisk } from '../../src/disk-memory.ts'
import { openEntry } from '../../src/log/entry.ts'
import { EMPTY_FRONTIER } from '../../src/log/frontier.ts'
import { feedDevice, feedRoot, nameFromText, type FeedId } from '../../src/types.ts'
import { admitTo, createTestVolume, deliver, TestDevice, treeText } from './volume-device.ts'
import type { TestVolume } from './volume-device.ts'

const OWNER = { mode: 0o644, uid: 0, gid: 0 }

/** Makes an empty file and publishes it. */
export async function create(device: TestDevice, name: string): Promise<void> {
  const { overlay } = device
  device.do(overlay.createFile(overlay.root, nameFromText(name), OWNER).edit)
  await device.publish()
}

/** Whether the root has a name. */
export function shows(device: TestDevice, name: string): boolean {
  return treeText(device).includes(`/${name} `)
}

/** Whether a device takes another for a member. */
export function isMember(device: TestDevice, other: TestDevice): boolean {
  return device.volume.members.isMember(other.identity.device)
}

/** Has an admin revoke a device. */
export function revoke(device: TestDevice, other: TestDevice): Promise<void> {
  const { volume } = device
  return volume.write(() => volume.turns.revocation(volume.members, other.identity.device))
}

/** Entries of another device that are kept aside. */
export function asideOf(device: TestDevice, other: TestDevice): number {
  const { volume } = device
  return volume.turns
    .aside(volume.members, volume.appliedFrontier())
    .filter(({ feed }) => feedDevice(feed) === other.identity.device)
    .reduce((sum, { count }) => sum + count, 0)
}

/** An index as it is now. */
export function copyOf(rows: MemoryRowStore): MemoryRowStore {
  const copy = new MemoryRowStore()
  copy.transaction((writer) => {
    for (const { key, value } of rows.range('')) writer.put(key, value)
  })
  return copy
}

/** Everybody gives everything to everybody, as often as it takes. */
export async function exchange(...devices: TestDevice[]): Promise<void> {
  for (let round = 0; round < 4; round++) {
    for (const from of devices) for (const to of devices) if (from !== to) await deliver(from, to)
  }
}

/** What a device has applied, by feed and hash: branches have names of their own everywhere. */
export function applied(device: TestDevice): string {
  return [...device.volume.appliedFrontier()]
    .map(([feed, { length, hash }]) => `${feedRoot(feed)} ${length} ${hash}`)
    .sort()
    .join('\n')
}

/** They show the same, and have applied the same. */
export function assertSame(...devices: TestDevice[]): void {
  const [first, ...others] = devices as [TestDevice, ...TestDevice[]]
  for (const other of others) {
    assert.equal(treeText(other), treeText(first), `${other.name} and ${first.name}`)
    assert.equal(applied(other), applied(first), `${other.name} and ${first.name} applied`)
    const members = ({ volume }: TestDevice) => volume.members.members()
    assert.deepEqual(members(other), members(first))
  }
}

/** A volume with alice (admin) and others, who have all seen all admissions. */
export async function createVolume<Name extends string>(
  seed: string,
  roles: Readonly<Record<Name, 'admin' | 'writer' | 'reader'>>,
): Promise<{ shared: TestVolume; alice: TestDevice } & Record<Name, TestDevice>> {
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const others: TestDevice[] = []
  for (const [name, role] of Object.entries(roles) as [Name, 'admin'][]) {
    const device = await TestDevice.open(shared, name, seed)
    await alice.admit(device.identity, name, role, shared)
    others.push(device)
  }
  await exchange(alice, ...others)
  const named = Object.fromEntries(others.map((device) => [device.name, device]))
  return { shared, alice, ...(named as Record<Name, TestDevice>) }
}

/** A device that joins as `member` lets it in, with what that member holds. */
export async function join(
  member: TestDevice,
  name: string,
  shared: TestVolume,
  seed: string,
  inviteName = name,
): Promise<TestDevice> {
  const state = {
    disk: new MemoryDisk(),
    rows: new MemoryRowStore(),
    secrets: member.keys.secrets,
  }
  const device = await TestDevice.open(shared, name, seed, state)
  await admitTo(member.volume, device.identity, inviteName, shared)
  await deliver(member, device)
  return device
}

/** Whether somebody with the secrets of `reader` opens the newest entry of a feed. */
export function opens(reader: TestDevice, holder: TestDevice, feed: FeedId): boolean {
  const head = holder.feeds.head(feed)
  const [frame] = holder.feeds.read(feed, (head?.length ?? 1) - 1, 1)
  assert.ok(frame)
  try {
    const use = { volume: holder.volume.id, keys: reader.keys, previousFrontier: EMPTY_FRONTIER }
    return openEntry({ ...frame, feed: feedRoot(feed) }, use).hash === frame.hash
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'KEY_MISSING')
    return false
  }
}
