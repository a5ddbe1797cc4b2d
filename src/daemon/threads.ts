/**
 * What the threads of one volume say to each other: the data each is started with, the events it
 * emits and the methods it offers (as types of the handlers). Types and small helpers only.
 *
 *   main -> crdt: log and membership    main -> fs: mounting, paths, conflicts, history
 *   fs -> crdt: submit                  crdt -> fs: submitPending, event `delta`
 *   fs -> main: fetch                   crdt -> main: events `head`, `members`, `problem`, `wants`
 *                                       crdt -> main and fs: event `keys`
 */
import type { MessagePort } from 'node:worker_threads'
import type { TreeDelta } from '../crdt/interface.ts'
import type { ChunkKeysData } from '../chunks/keys.ts'
import type { VolumeSecrets } from '../log/keys.ts'
import type { OpenInvite } from '../log/membership.ts'
import type { Farewell } from '../log/turns.ts'
import type { DeviceLabels } from '../policy/interface.ts'
import type { EditBatch } from './edit-batch.ts'
import type { ChunkAddress, DeviceId, FeedHead, FeedId, InodeId, Role, VolumeId } from '../types.ts'

import type { LogChangesQuery, LogChangesSlice } from './log-changes.ts'

/** Where one volume keeps its state; absolute paths. */
export interface VolumePaths {
  readonly directory: string
  readonly log: string
  readonly journal: string
  readonly index: string
  readonly packs: string
  /** Of the whole volume, for newcomers and as one. */
  readonly snapshots: string
}

/** The state directories of a volume. */
export function volumePaths(directory: string): VolumePaths {
  return {
    directory,
    log: `${directory}/log`,
    journal: `${directory}/journal`,
    index: `${directory}/index`,
    packs: `${directory}/packs`,
    snapshots: `${directory}/snapshots`,
  }
}

/** What every thread of a volume is started with. */
export interface ThreadData {
  readonly volume: VolumeId
  readonly paths: VolumePaths
  /** The device's 32-byte identity seed. */
  readonly seed: Uint8Array
  readonly deviceName: string
  /** Encoded `VolumeSecrets`. */
  readonly secrets: Uint8Array
}

/** What the crdt thread is started with. `fs` leads to the fs thread. */
export interface CrdtThreadData extends ThreadData {
  readonly generation: number
  /** Who let this device in. */
  readonly guide: DeviceId | undefined
  readonly fs: MessagePort
}

/** What the fs thread is started with. */
export interface FsThreadData extends ThreadData {
  readonly crdt: MessagePort
  readonly store: MessagePort
  readonly policySuspects: readonly InodeId[]
  /** What is pinned on this device. */
  readonly pins: readonly InodeId[]
}

/** Event `begin`, main to fs: the crdt thread has opened the index. */
export interface FsBegin {
  readonly coveredTo: number
  readonly role: Role | undefined
  readonly labels: DeviceLabels
}

/** What the fs thread may call on main. */
export type MainApi = {
  fetch: (
    args: { addresses: readonly ChunkAddress[]; priority: 'foreground' | 'background' },
    context: { signal: AbortSignal },
  ) => Promise<void>
}

/** What the fs thread calls on the crdt thread. */
export type SubmitApi = {
  submit: (batch: EditBatch) => Promise<{ coveredTo: number }>
  /** Resolves when every delta committed until now has been told: one port keeps its order. */
  told: () => void
  logChanges: (query: LogChangesQuery) => LogChangesSlice
  /** Of each member with this name, or this whole id. */
  labelsOf: (device: string) => DeviceLabels[]
}

/** What the crdt thread calls on the fs thread. */
export type SubmitPendingApi = { submitPending: () => Promise<void> }

/** Membership as main mirrors it, so that firewalls can ask without waiting. */
export interface MembersData {
  readonly volumeName: string
  readonly role: Role | undefined
  /** Of this device. */
  readonly labels: DeviceLabels
  /** This device has lost a part of what it knew, so there may be more members. */
  readonly isBehind: boolean
  readonly members: readonly {
    readonly device: DeviceId
    readonly name: string
    readonly role: Role
    readonly labels: DeviceLabels
  }[]
  readonly invites: readonly OpenInvite[]
  /** Every invite key ever made, expired and used-up ones and the recovery key included. */
  readonly knownInvites: readonly string[]
  /** Topic keys of where members meet, the newest first. */
  readonly meeting: readonly Uint8Array[]
  readonly revoked: readonly RevokedDevice[]
  /** Who revoked this device, if it is known here. */
  readonly revokedBy: { readonly name: string; readonly at: string } | undefined
}

/** A device that was revoked and was not let in again. */
export interface RevokedDevice {
  readonly device: DeviceId
  readonly name: string
  /** By whom, and when: ISO 8601 of the entry's stamp. */
  readonly by: string
  readonly at: string
  /** Entries of it that are stored and not applied. */
  readonly aside: number
  /** What proves it to the device. */
  readonly farewell: Farewell | undefined
}

/**
 * Event `keys`, crdt to main and fs: what this device holds and seals with from now on. It comes
 * before anything that was sealed with them.
 */
export interface KeysEvent {
  /** Encoded `VolumeSecrets`. */
  readonly secrets: Uint8Array
  readonly current: number
}

/** Event `head`, crdt to main. */
export interface HeadEvent {
  readonly feed: FeedId
  readonly head: FeedHead
}

/** Event `delta`, crdt to fs. */
export interface DeltaEvent {
  readonly delta: TreeDelta
  readonly coveredTo: number
  /** Nothing but edits that the fs thread submitted. */
  readonly isOwn: boolean
  readonly role: Role | undefined
  /** Of this device. */
  readonly labels: DeviceLabels
  /** Greatest stamp applied. */
  readonly hlc: number
}

/** Event `wants`, crdt and fs to main: contents to fetch; without keys any may have become one. */
export interface WantsEvent {
  readonly keys?: readonly string[]
}

/** Event `problem`, crdt and fs to main. */
export interface ProblemEvent {
  readonly code: string
  readonly message: string
  readonly path?: string
}

/** What policies call a device by: the labels it has given itself, and its name. */
export function deviceLabels(
  member: { readonly name: string; readonly labels: DeviceLabels } | undefined,
): DeviceLabels {
  return member ? { ...member.labels, device: member.name } : {}
}

/** Chunk keys in a form that crosses threads; `current`: the generation that seals. */
export function chunkKeysData(secrets: VolumeSecrets, current = 0): ChunkKeysData {
  const keys = secrets.chunkKeys()
  const contents = new Map<number, Uint8Array>()
  for (const generation of secrets.generations()) {
    const key = keys.content(generation)
    if (key) contents.set(generation, key)
  }
  return { dedup: keys.dedup, currentGeneration: current, contents }
}
