/**
 * Proves that a damaged journal still opens: every record that can be read is there, right bytes
 * only, and what is lost is named by number. Flips every byte, cuts at every byte, deletes each
 * file; then goes on writing and opens again.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { DiskJournal, type JournalDamage } from '../../../src/log/journal.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const SEGMENT_BYTES_MAX = 500
const RECORDS = 14

function open(disk: MemoryDisk, numberMin = 1) {
  const damages: JournalDamage[] = []
  const journal = DiskJournal.open({
    disk,
    random: new SeededRandom(4),
    directory: '/journal',
    key: Buffer.alloc(32, 9),
    numberMin,
    segmentBytesMax: SEGMENT_BYTES_MAX,
    onDamage: (damage) => damages.push(damage),
  })
  return { journal, damages }
}

/** Three segments, closed in order. */
async function written(): Promise<MemoryDisk> {
  const disk = new MemoryDisk({ isRecording: true })
  const { journal, damages } = open(disk)
  for (let number = 1; number <= RECORDS; number++) {
    journal.append(number % 5, Buffer.from(`record ${number} ${'x'.repeat(number * 4)}`))
    if (number % 2 === 0) await journal.sync()
  }
  await journal.close()
  assert.deepEqual(damages, [])
  assert.ok(disk.files().length >= 3)
  return disk
}

function copyOf(disk: MemoryDisk): MemoryDisk {
  return disk.imageAt(disk.operationCount, { survivors: 'all' })
}

/** What a damaged journal must be: readable records, and a name for each of the others. */
function check(disk: MemoryDisk, what: string, missingMax: number, isTold = true): void {
  const { journal, damages } = open(disk)
  const found = new Set<number>()
  for (const { number, type, bytes } of journal.replay()) {
    assert.equal(type, number % 5, what)
    const text = Buffer.from(bytes).toString()
    assert.equal(text, `record ${number} ${'x'.repeat(number * 4)}`, what)
    found.add(number)
  }
  assert.ok(found.size >= RECORDS - missingMax, `${what}: ${[...found].join()} are left`)
  const told = (number: number): boolean =>
    damages.some(({ numbers }) => numbers && numbers.from <= number && number <= numbers.to)
  for (let number = 1; isTold && number <= RECORDS; number++) {
    const isFirst = Math.min(...found) > number
    assert.ok(found.has(number) || told(number) || isFirst, `${what}: nobody misses ${number}`)
  }
  if (isTold && found.size < RECORDS && damages.some(({ place }) => place)) {
    assert.ok(
      disk.files().some((file) => file.endsWith('.damaged')),
      `${what}: kept aside`,
    )
  }
  const next = journal.nextNumber
  assert.ok(next > Math.max(0, ...found), what)
  const added = journal.append(1, Buffer.from('later'))
  journal.flush()
  const again = open(disk, next).journal
  assert.deepEqual(
    [...again.replay()].map(({ number }) => number),
    [...found, added],
    `${what}: opened again`,
  )
  assert.ok(again.nextNumber > added, what)
}

test('a flipped byte anywhere costs the record it hits, or the group at the end', async () => {
  const disk = await written()
  for (const file of disk.files()) {
    const size = disk.readFileSync(file)?.length as number
    for (let at = 0; at < size; at++) {
      const copy = copyOf(disk)
      copy.flip(file, at, 1 << (at % 8))
      check(copy, `${file}, byte ${at}`, 1)
    }
  }
})

test('two damaged places, a file of zeros, a file of noise', async () => {
  const disk = await written()
  const random = new SeededRandom(77)
  for (const file of disk.files()) {
    const size = disk.readFileSync(file)?.length as number
    for (let round = 0; round < 60; round++) {
      const copy = copyOf(disk)
      copy.flip(file, random.below(size), 1)
      copy.flip(file, random.below(size), 2)
      check(copy, `${file}, round ${round}`, 4, false)
    }
    for (const bytes of [Buffer.alloc(size), Buffer.from(random.bytes(size))]) {
      const copy = copyOf(disk)
      const open = copy.openSync(file)
      open.writeSync(0, [bytes])
      check(copy, `${file} overwritten`, RECORDS, false)
    }
  }
})

test('a file that is cut or missing costs what was in it', async () => {
  const disk = await written()
  const files = disk.files()
  for (const file of files) {
    const size = disk.readFileSync(file)?.length as number
    for (let end = 0; end <= size; end += 7) {
      const copy = copyOf(disk)
      copy.openSync(file).truncateSync(end)
      check(copy, `${file} cut at ${end}`, RECORDS, false)
    }
    const copy = copyOf(disk)
    copy.removeSync(file)
    check(copy, `${file} removed`, RECORDS, false)
  }
  const copy = copyOf(disk)
  copy.removeSync(files[1] as string)
  const { journal, damages } = open(copy)
  assert.ok([...journal.replay()].length > 3)
  assert.equal(damages.filter(({ numbers }) => numbers).length, 1, 'the gap is named')
})

test('lost numbers that were published already are no loss', async () => {
  const disk = await written()
  const [first] = disk.files() as [string]
  disk.flip(first, 60, 1)
  const { journal, damages } = open(disk, RECORDS + 1)
  assert.equal([...journal.replay()].length, RECORDS - 1)
  assert.deepEqual(
    damages.map(({ numbers }) => numbers),
    [undefined],
    'the place is told, no number',
  )
})
