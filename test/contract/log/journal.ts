/** What every `Journal` must do, whatever it stores on. */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { Journal, JournalRecord } from '../../../src/log/interface.ts'

/** A place for a journal: `open` again gives what was stored before. */
export interface JournalPlace {
  open(numberMin?: number): Journal
  remove(): void
}

/** The records as plain data. */
export function recordsOf(journal: Journal): { number: number; type: number; text: string }[] {
  return [...journal.replay()].map(({ number, type, bytes }: JournalRecord) => ({
    number,
    type,
    text: Buffer.from(bytes).toString('latin1'),
  }))
}

/** Runs the suite; `create` makes an empty place. */
export function journalSuite(name: string, create: () => JournalPlace): void {
  const run = (
    what: string,
    body: (journal: Journal, reopen: (numberMin?: number) => Promise<Journal>) => Promise<void>,
  ): void => {
    test(`${name}: ${what}`, async (t) => {
      const place = create()
      let journal = place.open()
      t.after(async () => {
        await journal.close()
        place.remove()
      })
      await body(journal, async (numberMin) => {
        await journal.close()
        return (journal = place.open(numberMin))
      })
    })
  }

  run('an empty journal starts at 1', async (journal) => {
    assert.equal(journal.nextNumber, 1)
    assert.deepEqual(recordsOf(journal), [])
  })

  run('records come back in order with number, type and bytes', async (journal, reopen) => {
    const wanted: { number: number; type: number; text: string }[] = []
    for (const size of [0, 1, 100, 20_000, 17, 1_000_000, 3, 70_000]) {
      const text = String.fromCharCode(97 + wanted.length).repeat(size)
      const type = wanted.length * 30
      const number = journal.append(type, Buffer.from(text))
      wanted.push({ number, type, text })
      if (wanted.length % 3 === 0) journal.flush()
    }
    await journal.sync()
    assert.deepEqual(recordsOf(journal), wanted)
    assert.deepEqual(recordsOf(await reopen()), wanted)
  })

  run('closing makes durable what was appended', async (journal, reopen) => {
    journal.append(1, Buffer.from('last words'))
    assert.equal(recordsOf(await reopen())[0]?.text, 'last words')
  })

  run('numbers go on after reopening and after trimming everything', async (journal, reopen) => {
    for (let index = 0; index < 100; index++) journal.append(0, Buffer.alloc(100_000))
    await journal.sync()
    journal.trim(journal.nextNumber)
    assert.deepEqual(recordsOf(journal), [], 'nothing is left')
    const again = await reopen()
    assert.equal(again.nextNumber, 101)
    again.trim(101)
    assert.equal(again.append(0, Buffer.alloc(1)), 101)
    assert.equal((await reopen()).nextNumber, 102)
  })

  run('numbers that are covered elsewhere are never given', async (journal, reopen) => {
    assert.equal(journal.append(0, Buffer.alloc(1)), 1)
    const later = await reopen(50)
    assert.equal(later.append(0, Buffer.alloc(1)), 50)
    const records = recordsOf(await reopen(7))
    assert.deepEqual(
      records.map((record) => record.number),
      [1, 50],
    )
  })

  run('trimming keeps what is not below', async (journal, reopen) => {
    for (let index = 0; index < 300; index++) journal.append(0, Buffer.alloc(100_000))
    journal.flush()
    journal.trim(170)
    const kept = recordsOf(await reopen())
    assert.ok((kept[0]?.number ?? 0) > 1 && (kept[0]?.number ?? 999) <= 170)
    assert.equal(kept.at(-1)?.number, 300)
  })

  run('syncs that overlap all resolve', async (journal, reopen) => {
    const syncs: Promise<void>[] = []
    for (let index = 0; index < 200; index++) {
      journal.append(0, Buffer.from(`${index}`))
      syncs.push(journal.sync())
    }
    await Promise.all(syncs)
    assert.equal(recordsOf(await reopen()).length, 200)
  })
}
