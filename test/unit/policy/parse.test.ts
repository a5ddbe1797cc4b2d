/**
 * Proves that policy files are read as written, and that each mistake is said with its place, what
 * is wrong and what is allowed. Tables of texts and expected messages; hostile bytes are seeded.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  formatProblem,
  parsePolicy,
  POLICY_FILE_SIZE_BYTES_MAX,
} from '../../../src/policy/parse.ts'

function parse(text: string): ReturnType<typeof parsePolicy> {
  return parsePolicy(Buffer.from(text))
}

function problems(text: string | Buffer): string[] {
  const result = parsePolicy(Buffer.from(text))
  assert.ok('problems' in result, `accepted: ${text.toString()}`)
  assert.ok(result.problems.length > 0)
  return result.problems.map((problem) => formatProblem('f', problem))
}

test('all spellings of one policy have one canonical text', () => {
  const canonical = '{"conflicts":{"strategy":"copies"},"local":{"keep":"cached"}}'
  const spellings = [
    '[conflicts]\nstrategy = "copies"\n[local]\nkeep = "cached"\n',
    "# why\nlocal.keep = 'cached' # how\nconflicts.strategy = 'copies'",
    'local = { keep = "cached" }\r\nconflicts = { "strategy" = """copies""" }\r\n',
    '\ufefflocal.keep="cached"\nconflicts.strategy="cop\\u0069es"',
  ]
  for (const text of spellings) {
    const result = parse(text)
    assert.ok('canonical' in result, text)
    assert.equal(result.canonical, canonical)
  }
})

test('the lines of keys are known, for explanations', () => {
  const result = parse('# title\n\n[conflicts]\nstrategy = "last-writer-wins"\n')
  assert.ok('lines' in result)
  assert.deepEqual([...result.lines], [['conflicts.strategy', 4]])
  assert.deepEqual(JSON.parse(result.canonical), { conflicts: { strategy: 'last-writer-wins' } })
})

test('a file that sets nothing is valid', () => {
  for (const text of ['', '# only a remark\n', '[conflicts]\n']) {
    assert.ok('canonical' in parse(text), text)
  }
})

const TOP =
  '"ignore", "conflicts", "replication", "placement", "local", "history", "limits", "access"'
const KEEPS = '"always", "cached", "streamed"'
const KEEP_FORMS =
  '"always", "cached", "streamed", or a table from labels to these, such as ' +
  '{ default = "cached", "device=nas" = "always" }'
const SIZES =
  'a size such as "500 MB" (of 1,000) or "4 GiB" (of 1,024), a number of bytes, ' + 'or "unlimited"'
const LABELS = 'label expressions such as "device=nas" or "region=eu"'

const MISTAKES: [text: string, expected: string[]][] = [
  [
    '[conflicts]\nstratgy = "copies"',
    [
      'f:2:1: unknown key "stratgy" in [conflicts]; ' +
        'did you mean "strategy"? Allowed: "strategy", "notify"',
    ],
  ],
  [
    'conflict.strategy = "copies"',
    [
      'f:1:1: unknown key "conflict" at the top level; did you mean "conflicts"? ' +
        `Allowed: ${TOP}`,
    ],
  ],
  [
    '  strategy = "copies"',
    [
      'f:1:3: unknown key "strategy" at the top level; did you mean "conflicts.strategy"? ' +
        `Allowed: ${TOP}`,
    ],
  ],
  [
    '[conflicts]\nstrategy = "copy"',
    [
      'f:2:12: conflicts.strategy may not be "copy"; did you mean "copies"? ' +
        'Allowed: "copies", "last-writer-wins"',
    ],
  ],
  ['history.days = 0', ['f:1:16: history.days must be a whole number from 1 to 36500, not 0']],
  ['history.days = 1.5', ['f:1:16: history.days must be a whole number from 1 to 36500, not 1.5']],
  [
    'history.days = "30"',
    ['f:1:16: history.days must be a whole number from 1 to 36500, not "30"; did you mean 30?'],
  ],
  [
    'history.days = inf',
    ['f:1:16: history.days must be a whole number from 1 to 36500, not Infinity'],
  ],
  ['local.keep = "Last"', [`f:1:14: local.keep may not be "Last". Allowed: ${KEEPS}`]],
  [
    'local.keep = "cach"',
    [`f:1:14: local.keep may not be "cach"; did you mean "cached"? Allowed: ${KEEPS}`],
  ],
  ['local.keep = 3', [`f:1:14: local.keep may not be 3. Allowed: ${KEEP_FORMS}`]],
  ['local.keep = ["always"]', [`f:1:14: local.keep may not be a list. Allowed: ${KEEP_FORMS}`]],
  [
    '[local.keep]\nlaptop = "cached"',
    [
      'f:2:1: local.keep may not have the key "laptop"; did you mean "device=laptop"? ' +
        'Allowed: keys "default" or label expressions such as "device=laptop"',
    ],
  ],
  [
    '[local.keep]\n"device=a b" = "allways"',
    [
      'f:2:16: local.keep."device=a b" may not be "allways"; did you mean "always"? ' +
        `Allowed: ${KEEPS}`,
    ],
  ],
  [
    'local = "always"',
    ['f:1:9: local must be a table, as in [local]. Allowed: "keep", "prefetch"'],
  ],
  [
    '[[local]]\nkeep = "always"',
    ['f:1:3: local must be a table, as in [local]. Allowed: "keep", "prefetch"'],
  ],
  [
    '[local]\nignore = ["x"]',
    [
      'f:2:1: unknown key "ignore" in [local]; did you mean "ignore", above the first table? ' +
        'Allowed: "keep", "prefetch"',
    ],
  ],
  [
    'copys = 3',
    [
      'f:1:1: unknown key "copys" at the top level; did you mean "replication.copies"? ' +
        `Allowed: ${TOP}`,
    ],
  ],
  [
    'limits.file_size = "4gb"',
    [`f:1:20: limits.file_size must be ${SIZES}, not "4gb"; did you mean "4 GB"?`],
  ],
  [
    'limits.quota = "none"',
    [`f:1:16: limits.quota must be ${SIZES}, not "none"; did you mean "unlimited"?`],
  ],
  ['limits.quota = -5', [`f:1:16: limits.quota must be ${SIZES}, not -5`]],
  ['limits.quota = 1.5', [`f:1:16: limits.quota must be ${SIZES}, not 1.5`]],
  [
    'access.readonly = "yes"',
    ['f:1:19: access.readonly must be true or false, not "yes"; did you mean true?'],
  ],
  [
    'replication.copies = "3"',
    [
      'f:1:22: replication.copies must be a whole number from 1 to 100, not "3"; ' +
        'did you mean 3?',
    ],
  ],
  [
    'placement.require = "device=nas"',
    [
      `f:1:21: placement.require must be a list of ${LABELS}, at most 32, not "device=nas"; ` +
        'did you mean ["device=nas"]?',
    ],
  ],
  [
    'placement.avoid = ["a=1",\n "region: eu", 7, "a=1"]',
    [
      'f:2:2: placement.avoid may not hold "region: eu"; did you mean "region=eu"? ' +
        `Allowed: ${LABELS}`,
      `f:2:16: placement.avoid may not hold 7. Allowed: ${LABELS}`,
      'f:2:19: placement.avoid has "a=1" twice',
    ],
  ],
  [
    'ignore = ["ok", "# no", "bad\\\\"]',
    ['"# no"', '"bad\\\\"'].map(
      (found, index) =>
        `f:1:${[17, 25][index]}: ignore may not hold ${found}. ` +
        'Allowed: patterns as in .gitignore, such as "*.tmp" or "/build/"',
    ),
  ],
  [
    '__proto__ = 1\n[constructor]\nx = 1',
    [
      `f:1:1: unknown key "__proto__" at the top level. Allowed: ${TOP}`,
      `f:2:2: unknown key "constructor" at the top level. Allowed: ${TOP}`,
    ],
  ],
  ['[local]\nkeep = 1979-05-27', ['f:2:8: a date has no meaning in a policy']],
  ['a = 1\na = 2', ['f:2:1: this is not TOML: Defining a key multiple times is invalid']],
]

test('each mistake is said with its place, what is wrong and what is allowed', () => {
  for (const [text, expected] of MISTAKES) assert.deepEqual(problems(text), expected)
})

test('a mistake tells scripts what was found, what is allowed and what was meant', () => {
  const result = parse('[local]\nkeep = "cach"\n')
  assert.ok('problems' in result)
  const [problem] = result.problems
  assert.deepEqual(
    { ...problem, message: undefined },
    { line: 2, column: 8, found: '"cach"', allowed: KEEPS, meant: 'cached', message: undefined },
  )
})

test('every key can be written, and lines of devices are known', () => {
  const text = `
ignore = ["*.tmp", "/build/", '!keep\\ ', "\\\\#x"]
[conflicts]
strategy = "copies"
notify = false
[replication]
copies = 3
[placement]
require = ["device=nas", "region=eu"]
prefer = []
avoid = ["device=Bob's old laptop"]
[local]
keep = { default = "cached", "device=nas" = "always" }
prefetch = "64 KiB"
[history]
days = 90
versions = 5
[limits]
file_size = "4 GB"
quota = "unlimited"
[access]
readonly = true
`
  const result = parse(text)
  assert.ok('canonical' in result, JSON.stringify(result))
  assert.deepEqual(JSON.parse(result.canonical), {
    ignore: ['*.tmp', '/build/', '!keep\\ ', '\\#x'],
    conflicts: { strategy: 'copies', notify: false },
    replication: { copies: 3 },
    placement: {
      require: ['device=nas', 'region=eu'],
      prefer: [],
      avoid: ["device=Bob's old laptop"],
    },
    local: { keep: { default: 'cached', 'device=nas': 'always' }, prefetch: 65_536 },
    history: { days: 90, versions: 5 },
    limits: { file_size: 4_000_000_000, quota: 'unlimited' },
    access: { readonly: true },
  })
  assert.equal(result.lines.get('local.keep.device=nas'), 13)
  assert.equal(result.lines.get('access.readonly'), 22)
})

test('a policy too long for its register is a mistake, not an exception', () => {
  const names = Array.from({ length: 32 }, (_, index) => `"tag=${index}${'é'.repeat(120)}"`)
  const list = `[${names.join(',')}]`
  const text = `placement.require = ${list}\nplacement.avoid = ${list}\nplacement.prefer = ${list}`
  assert.match(problems(text)[0] as string, /^f:1:1: this is too much for one folder: .*16384/)
})

test('several mistakes are said at once, in the order of the file', () => {
  const found = problems('size = 3\n[local]\nkeep = "no"\nkeeps = 1\n[conflicts]\nstrategy = 1\n')
  const places = found.map((text) => text.split(': ')[0])
  assert.deepEqual(places, ['f:1:1', 'f:3:8', 'f:4:1', 'f:6:12'])
})

test('what is no text, too long or too deep is refused with a place', () => {
  const notUtf8 = Buffer.concat([Buffer.from('# a\n# b\n'), Buffer.from([0x23, 0xff, 0x0a])])
  assert.deepEqual(problems(notUtf8), ['f:3:1: the file is not UTF-8 text'])
  const long = `#${'x'.repeat(POLICY_FILE_SIZE_BYTES_MAX)}`
  assert.match(problems(long)[0] as string, /^f:1:1: the file has 65537 bytes, at most 65536/)
  const brackets = `a = ${'['.repeat(9_000)}${']'.repeat(9_000)}`
  assert.match(problems(brackets)[0] as string, /^f:1:\d+: tables and lists within each other/)
  assert.match(problems(`${'a.'.repeat(9_000)}a = 1`)[0] as string, /within each other/)
  assert.match(problems(`[${'a.'.repeat(9_000)}a]`)[0] as string, /within each other/)
})

test('long values are cut in messages', () => {
  const [message] = problems(`local.keep = "${'x'.repeat(5_000)}"`)
  assert.ok((message as string).length < 200)
})

test('no bytes make it throw', () => {
  const seed = 0x5eed
  let state = seed
  const next = (bound: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % bound
  }
  const words = ['[', ']', '[[', ']]', '{', '}', '=', '.', ',', '"', "'", '\n', '#', ' ', 'local']
  words.push(
    'keep',
    'conflicts',
    '"copies"',
    '1',
    'true',
    '__proto__',
    '\0',
    '\\',
    '1979-05-27',
    'é',
  )
  for (let round = 0; round < 3_000; round++) {
    const text = Array.from({ length: next(14) }, () => words[next(words.length)]).join('')
    try {
      parse(text)
    } catch (error) {
      assert.fail(`seed ${seed}, round ${round}: ${JSON.stringify(text)} threw ${String(error)}`)
    }
  }
})
