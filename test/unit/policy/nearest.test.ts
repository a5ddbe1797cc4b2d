/**
 * Proves that misspellings find their word and that unrelated words find none. A table of words.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nearestWord } from '../../../src/policy/nearest.ts'

const WORDS = ['copies', 'last-writer-wins', 'always', 'cached']

test('slips of the finger find the word that was meant', () => {
  const meant: [string, string | undefined][] = [
    ['copys', 'copies'],
    ['Copies ', 'copies'],
    ['cpoies', 'copies'],
    ['last_writer_wins', 'last-writer-wins'],
    ['last-write-win', 'last-writer-wins'],
    ['last', 'last-writer-wins'],
    ['cache', 'cached'],
    ['never', undefined],
    ['c', undefined],
    ['', undefined],
    ['x'.repeat(5_000), undefined],
  ]
  for (const [word, expected] of meant) assert.equal(nearestWord(word, WORDS), expected, word)
})
