/** From internal shapes to the reports of the control socket. */
import type { ChunkHolder } from '../swarm/interface.ts'
import type { Swarm } from '../swarm/swarm.ts'
import { feedDevice, type DeviceId } from '../types.ts'
import type { PathEntry } from '../vfs/interface.ts'
import type { AbsenceState } from './absence.ts'
import type { ChangesAnswer } from './change-queries.ts'
import type { DeviceReport, FileReport, PeerReport, WhereReport } from './interface.ts'
import type { Volume } from '../volume.ts'
import type { ChangeKind, SinceOfflineReport } from './offline-interface.ts'
import type { MembersData, RevokedDevice } from './threads.ts'

/** ISO 8601 UTC of a hybrid stamp. */
export function stampToIso(hlc: number): string {
  return new Date(Math.floor(hlc / 1000)).toISOString()
}

/** A file as `ls` shows it. */
export function fileReport(entry: PathEntry): FileReport {
  return {
    name: entry.name,
    path: entry.path,
    type: entry.type,
    size: entry.sizeBytes,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtime: new Date(Number(entry.mtimeNs / 1_000_000n)).toISOString(),
    ...(entry.target === undefined ? {} : { target: entry.target }),
  }
}

/** Who holds a file, from what each device said about its chunks. */
export function whereReport(facts: {
  path: string
  sizeBytes: number
  /** Not all chunks were asked about, because nobody who could be asked knows them all. */
  isPartial: boolean
  own: ChunkHolder
  holders: readonly ChunkHolder[]
  members: readonly { device: DeviceId; name: string }[]
}): WhereReport {
  const { path, sizeBytes, isPartial, own } = facts
  const holders = [own, ...facts.holders].map(({ device, name, has }) => {
    const chunks = has.filter(Boolean).length
    return {
      device,
      name,
      isSelf: device === own.device,
      chunks,
      isComplete: !isPartial && chunks === has.length,
    }
  })
  const asked = new Set<string>(holders.map(({ device }) => device))
  return {
    path,
    size: sizeBytes,
    chunks: own.has.length,
    holders,
    unknown: facts.members.filter(({ device }) => !asked.has(device)).map(({ name }) => name),
    copies: holders.filter(({ isComplete }) => isComplete).length,
  }
}

/** Who was revoked, by whom, and what of it is kept aside. */
export function revokedData(volume: Volume): Pick<MembersData, 'revoked' | 'revokedBy'> {
  const { members } = volume
  const revokedBy = volume.turns.revokedBy(members)
  const aside = new Map<DeviceId, number>()
  for (const { feed, count } of volume.turns.aside(members, volume.appliedFrontier())) {
    aside.set(feedDevice(feed), (aside.get(feedDevice(feed)) ?? 0) + count)
  }
  const nameOf = (device: DeviceId): string => members.nameOf(device) ?? device.slice(0, 8)
  const revoked = new Map<DeviceId, RevokedDevice>()
  for (const { device, hlc, position } of members.revocations()) {
    const by = nameOf(feedDevice(position.feed))
    const row = { device, name: nameOf(device), by, at: stampToIso(hlc) }
    const before = revoked.get(device)
    if (before === undefined || row.at < before.at) {
      const farewell = volume.turns.farewell(members, device)
      revoked.set(device, { ...row, aside: aside.get(device) ?? 0, farewell })
    }
  }
  return {
    revoked: [...revoked.values()],
    revokedBy: revokedBy && { name: nameOf(revokedBy.device), at: stampToIso(revokedBy.hlc) },
  }
}

type SwarmPeers = ReturnType<Swarm['peers']>

/** Who is in the volume, and how they are connected. */
export function deviceReports(facts: {
  readonly self: DeviceId
  readonly members: MembersData['members']
  readonly revoked: readonly RevokedDevice[]
  readonly peers: SwarmPeers
  /** Time of the newest entry of each device. */
  readonly last: ReadonlyMap<DeviceId, string>
}): DeviceReport[] {
  const peers = new Map(facts.peers.map((peer) => [peer.device, peer]))
  const members = facts.members.map(({ device, name, role, labels }): DeviceReport => {
    const peer = peers.get(device)
    const isSelf = device === facts.self
    return {
      id: device,
      name,
      role,
      isSelf,
      isConnected: isSelf || (peer?.routes.length ?? 0) > 0,
      lastEntryAt: facts.last.get(device),
      isInSync: isSelf || (peer?.isInSync ?? false),
      ...(Object.keys(labels).length > 0 ? { labels } : {}),
    }
  })
  const revoked = facts.revoked.map(({ device, name, by, at, aside }) => ({
    id: device,
    name,
    role: undefined,
    isSelf: device === facts.self,
    isConnected: false,
    lastEntryAt: facts.last.get(device),
    isInSync: false,
    revoked: { at, by, aside },
  }))
  return [...members, ...revoked]
}

/** Connected devices. */
export function peerReports(peers: SwarmPeers): PeerReport[] {
  const connected = peers.filter((peer) => peer.routes.length > 0)
  return connected.map(({ device, routes, ...peer }) => ({
    id: device,
    routes: [...routes],
    ...peer,
  }))
}

/** Nothing changed. */
export const NO_CHANGES: Readonly<Record<ChangeKind, number>> = {
  new: 0,
  changed: 0,
  attributes: 0,
  renamed: 0,
  back: 0,
  deleted: 0,
}

/** What others did while this device was away. `answer`: absent when it never was. */
export function sinceOfflineReport(facts: {
  volume: string
  name: string
  isConnected: boolean
  state: AbsenceState | undefined
  answer: ChangesAnswer | undefined
  members: MembersData
}): SinceOfflineReport {
  const { volume, name, isConnected, state, answer, members } = facts
  const names = new Map<DeviceId, string>()
  for (const { device, name: called } of members.revoked) names.set(device, called)
  for (const { device, name: called } of members.members) names.set(device, called)
  const iso = (ms: number): string => new Date(ms).toISOString()
  const { now, last } = state ?? {}
  return {
    volume,
    name,
    isConnected,
    ...(now && !isConnected ? { offlineSince: iso(now.fromMs) } : {}),
    ...(last ? { away: { from: iso(last.fromMs), to: iso(last.toMs) } } : {}),
    counts: answer?.counts ?? NO_CHANGES,
    isComplete: answer?.isComplete ?? true,
    changes: (answer?.changes ?? []).map(({ device, ...change }) => ({
      ...change,
      device: names.get(device) ?? device.slice(0, 8),
      deviceId: device,
    })),
  }
}
