/**
 * The disk of this machine without Wormhole: the baseline that other groups are read against.
 * Reading comes from the page cache, which is what a mount competes with.
 */
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { median, type Group, type Report } from '../measure.ts'
import { noise, secondsOf } from '../workload.ts'

const MIB = 1024 * 1024
const FILE_BYTES = 256 * MIB
const FILE_COUNT = 2_000
const SYNC_COUNT = 100
const ROUNDS = 3

function writeFile(file: string, piece: Buffer): void {
  const descriptor = fs.openSync(file, 'w')
  for (let at = 0; at < FILE_BYTES; at += piece.length) fs.writeSync(descriptor, piece)
  fs.fsyncSync(descriptor)
  fs.closeSync(descriptor)
}

function readFile(file: string, into: Buffer): void {
  const descriptor = fs.openSync(file, 'r')
  while (fs.readSync(descriptor, into, 0, into.length, null) > 0);
  fs.closeSync(descriptor)
}

function createFiles(directory: string, content: Buffer): void {
  fs.mkdirSync(directory)
  for (let index = 0; index < FILE_COUNT; index++) {
    fs.writeFileSync(path.join(directory, `file-${index}`), content)
  }
}

function appendDurably(file: string, record: Buffer): void {
  const descriptor = fs.openSync(file, 'a')
  for (let index = 0; index < SYNC_COUNT; index++) {
    fs.writeSync(descriptor, record)
    fs.fdatasyncSync(descriptor)
  }
  fs.closeSync(descriptor)
}

async function run(report: Report): Promise<void> {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'wormhole-bench-'))
  const file = path.join(directory, 'large')
  const piece = noise(MIB)
  const megabytes = FILE_BYTES / 1e6
  const rounds = Array.from({ length: ROUNDS }, (_, index) => index)
  const rate = (amount: number, work: (round: number) => void): number =>
    median(rounds.map((round) => amount / secondsOf(() => work(round))))
  try {
    await report.measure({ name: 'write_fsync', unit: 'MB/s', better: 'higher' }, () =>
      rate(megabytes, () => writeFile(file, piece)),
    )
    await report.measure({ name: 'read_cached', unit: 'MB/s', better: 'higher' }, () =>
      rate(megabytes, () => readFile(file, piece)),
    )
    const small = piece.subarray(0, 4096)
    await report.measure({ name: 'create_4k', unit: 'files/s', better: 'higher' }, () =>
      rate(FILE_COUNT, (round) => createFiles(path.join(directory, `many-${round}`), small)),
    )
    await report.measure({ name: 'append_fdatasync_4k', unit: '1/s', better: 'higher' }, () =>
      rate(SYNC_COUNT, () => appendDurably(path.join(directory, 'log'), small)),
    )
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}

/** See the file header. */
export const group: Group = {
  name: 'disk',
  about: 'this machine without Wormhole: large files, small files, durable appends',
  run,
}
