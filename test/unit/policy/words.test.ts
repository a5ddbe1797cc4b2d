/**
 * Proves that templates are valid policies with every key explained, that the reference page is
 * that of the schema, and that the schema is a JSON schema by itself. Reads what the schema makes.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { GROUPS } from '../../../src/cli/table.ts'
import { POLICY_KEYS } from '../../../src/policy/language.ts'
import { parsePolicy } from '../../../src/policy/parse.ts'
import { POLICY_SCHEMA } from '../../../src/policy/schema.ts'
import { formatTemplate, PURPOSES } from '../../../src/policy/templates.ts'
import { formatReference, shownValue, tomlValue } from '../../../src/policy/words.ts'

function parse(text: string): ReturnType<typeof parsePolicy> {
  return parsePolicy(Buffer.from(text))
}

test('every template is a valid policy that sets something', () => {
  const canonical = PURPOSES.map((purpose) => {
    const result = parse(formatTemplate(purpose))
    assert.ok('canonical' in result, `${purpose}: ${JSON.stringify(result)}`)
    assert.ok(result.lines.has('conflicts.strategy') && result.lines.has('history.days'), purpose)
    return result.canonical
  })
  assert.equal(new Set(canonical).size, PURPOSES.length)
})

test('each line that a template leaves as a comment is valid in its place', () => {
  let tried = 0
  for (const purpose of PURPOSES) {
    let table = ''
    for (const line of formatTemplate(purpose).split('\n')) {
      if (line.startsWith('[')) table = line
      const offered = /^# (\w+ = .*)$/.exec(line)?.[1]
      if (offered === undefined) continue
      tried++
      const result = parse(`${table}\n${offered}\n`)
      assert.ok('canonical' in result, `${purpose} ${table} ${offered}: ${JSON.stringify(result)}`)
      assert.notEqual(result.canonical, '{}')
    }
  }
  assert.ok(tried >= PURPOSES.length * POLICY_KEYS.length * 0.7, `${tried} lines`)
})

test('a template names every key, and no line is too long', () => {
  for (const purpose of PURPOSES) {
    const lines = formatTemplate(purpose).split('\n')
    for (const { key, path } of POLICY_KEYS) {
      const name = path.at(-1) as string
      assert.ok(
        lines.some((line) => line.replace(/^# /, '').startsWith(`${name} = `)),
        key,
      )
    }
    for (const line of lines) assert.ok(line.length <= 100, line)
  }
})

test('the command line offers the templates that there are', () => {
  const commands = GROUPS.flatMap((group) => group.commands)
  const policy = commands.find(({ name }) => name === 'policy')
  const init = policy?.commands?.find(({ name }) => name === 'init')
  assert.deepEqual(init?.options?.[0]?.choices, PURPOSES)
})

test('the reference page is that of the schema: npm run reference', () => {
  const page = new URL('../../../src/policy/reference.md', import.meta.url)
  assert.equal(readFileSync(page, 'utf8'), formatReference())
})

test('the printed schema alone judges like the program', () => {
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof import('ajv')
  const schema = JSON.parse(JSON.stringify(POLICY_SCHEMA)) as typeof POLICY_SCHEMA
  assert.equal(schema.$schema, 'http://json-schema.org/draft-07/schema#')
  const validate = new Ajv({ strict: false }).compile(schema)
  assert.ok(validate({ local: { keep: { 'device=nas': 'always' } }, ignore: ['*.tmp'] }))
  assert.ok(!validate({ local: { keep: { nas: 'always' } } }))
  assert.ok(!validate({ limits: { quota: '4 gigs' } }))
  for (const { key, path, node, default: normal, safest } of POLICY_KEYS) {
    for (const value of [normal, safest, ...(node.examples ?? [])]) {
      const policy = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value)
      assert.ok(validate(policy), `${key}: ${JSON.stringify(value)}`)
    }
  }
})

test('values are shown as they are written', () => {
  const key = (name: string) => POLICY_KEYS.find(({ key }) => key === name)!
  assert.equal(tomlValue(key('limits.quota'), 4_000_000_000), '"4 GB"')
  assert.equal(tomlValue(key('local.prefetch'), 0), '0')
  assert.equal(
    tomlValue(key('local.keep'), { default: 'cached', 'device=a b': 'always' }),
    '{ default = "cached", "device=a b" = "always" }',
  )
  assert.equal(shownValue('limits.file_size', 1024), '1 KiB')
  assert.equal(shownValue('placement.require', ['a=1', 'b=2']), 'a=1, b=2')
  assert.equal(shownValue('ignore', []), '-')
  assert.equal(shownValue('of.later', true), 'true')
})
