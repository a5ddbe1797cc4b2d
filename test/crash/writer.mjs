/**
 * A program that works in a directory until it fails, and keeps a diary elsewhere: what it is about
 * to do, and what was acknowledged when. `node writer.mjs DIRECTORY DIARY SEED`.
 *
 * A line of the diary is `{ n, will: [[path, digest or null], …] }`, the states that operation `n`
 * brings, in order, or `{ n, isKept, atMs }` when it returned: with `isKept` everything so far must
 * survive the daemon (a close or an fsync has returned), otherwise once it is old enough. What is
 * appended to the file that is held open stands in `DIARY.held`, too: a write that nobody
 * acknowledged may be there in part.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'

const [directory, diary, seedText] = process.argv.slice(2)
const seed = Number(seedText)
const diaryFile = fs.openSync(diary, 'a')
let state = seed * 7919 + 1
let count = 0
const held = `held ${seed}`
let heldText = ''
let heldFile = -1

/** Park and Miller's generator: an integer from 0 up to `bound`. */
function below(bound) {
  state = (state * 48_271) % 2_147_483_647
  return state % bound
}

function say(line) {
  fs.writeSync(diaryFile, `${JSON.stringify(line)}\n`)
}

function digest(text) {
  return createHash('sha256').update(text).digest('hex')
}

function fresh() {
  const token = `${seed}.${count};`
  return token.repeat(1 + below(below(4) === 0 ? 6000 : 40))
}

function anyPath() {
  return path.join(['', 'd0', 'd1'][below(3)], `f${below(8)}`)
}

/** Runs one operation between its two lines. */
function act(will, work) {
  const n = count++
  say({ n, will })
  const isKept = work()
  say({ n, isKept, atMs: Date.now() })
}

function writeWhole(name, text) {
  const file = fs.openSync(path.join(directory, name), 'w')
  fs.writeSync(file, text)
  if (below(3) === 0) fs.fsyncSync(file)
  fs.closeSync(file)
}

function put(name) {
  const text = fresh()
  act(
    [
      [name, digest('')],
      [name, digest(text)],
    ],
    () => {
      writeWhole(name, text)
      return true
    },
  )
}

function save(name) {
  const text = fresh()
  const temporary = `${name}.tmp`
  const will = [
    [temporary, digest('')],
    [temporary, digest(text)],
    [name, digest(text)],
    [temporary, null],
  ]
  act(will, () => {
    writeWhole(temporary, text)
    fs.renameSync(path.join(directory, temporary), path.join(directory, name))
    return false
  })
}

function move(from, to) {
  if (from === to || !fs.existsSync(path.join(directory, from))) return
  const text = fs.readFileSync(path.join(directory, from))
  const will = [
    [to, digest(text)],
    [from, null],
  ]
  act(will, () => {
    fs.renameSync(path.join(directory, from), path.join(directory, to))
    return false
  })
}

function remove(name) {
  if (!fs.existsSync(path.join(directory, name))) return
  act([[name, null]], () => {
    fs.unlinkSync(path.join(directory, name))
    return false
  })
}

function append() {
  if (heldFile < 0) {
    act([[held, digest('')]], () => {
      heldFile = fs.openSync(path.join(directory, held), 'w')
      return false
    })
  }
  const text = fresh()
  heldText += text
  fs.writeFileSync(`${diary}.held`, heldText)
  act([[held, digest(heldText)]], () => {
    fs.writeSync(heldFile, text)
    if (below(4) > 0) return false
    fs.fsyncSync(heldFile)
    return true
  })
}

const GONE = ['ENOTCONN', 'ECONNABORTED', 'EIO', 'EINTR']
try {
  for (;;) {
    const kind = below(10)
    if (kind < 3) put(anyPath())
    else if (kind < 5) save(anyPath())
    else if (kind < 7) append()
    else if (kind < 8) move(anyPath(), anyPath())
    else if (kind < 9) remove(anyPath())
    else await new Promise((resolve) => setTimeout(resolve, below(20)))
  }
} catch (error) {
  if (!GONE.includes(error.code)) throw error
}
