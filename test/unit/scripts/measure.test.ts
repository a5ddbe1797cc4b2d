/**
 * Proves that figures are told with their bar judged the right way round. Takes figures from
 * functions that return constants.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createReport, median, percentile, type FigureLine } from '../../../scripts/measure.ts'

async function lineOf(
  value: number,
  better: 'higher' | 'lower',
  bar?: number,
): Promise<FigureLine> {
  const lines: FigureLine[] = []
  const report = createReport('group', (line) => lines.push(line))
  const figure = { name: 'figure', unit: 'x', better, ...(bar === undefined ? {} : { bar }) }
  assert.equal(await report.measure(figure, () => value), value)
  return lines[0] as FigureLine
}

test('a line has all fields, and four digits', async () => {
  const { wall_s, cpu_s, ...rest } = await lineOf(1234.5678, 'higher')
  assert.deepEqual(rest, {
    name: 'group.figure',
    value: 1235,
    unit: 'x',
    better: 'higher',
    bar: null,
    ok: true,
  })
  assert.ok(wall_s >= 0 && cpu_s >= 0)
})

test('a bar is a floor or a ceiling', async () => {
  assert.equal((await lineOf(10, 'higher', 10)).ok, true)
  assert.equal((await lineOf(9, 'higher', 10)).ok, false)
  assert.equal((await lineOf(10, 'lower', 10)).ok, true)
  assert.equal((await lineOf(11, 'lower', 10)).ok, false)
  assert.equal((await lineOf(Number.NaN, 'higher')).ok, false)
})

test('CPU seconds can come from elsewhere', async () => {
  const lines: FigureLine[] = []
  const report = createReport('g', (line) => lines.push(line))
  let used = 5
  const figure = { name: 'f', unit: 'x', better: 'higher', cpuSeconds: () => used } as const
  await report.measure(figure, () => {
    used = 7.5
    return 1
  })
  assert.equal(lines[0]?.cpu_s, 2.5)
})

test('the median is the middle', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 2, 3]), 2.5)
  assert.ok(Number.isNaN(median([])))
})

test('a percentile is a value that was measured', () => {
  const values = [30, 10, 20, 40]
  assert.equal(percentile(values, 0.5), 20)
  assert.equal(percentile(values, 0.95), 40)
  assert.ok(Number.isNaN(percentile([], 0.5)))
})

test('a figure may be taken with others', () => {
  const lines: FigureLine[] = []
  const report = createReport('g', (line) => lines.push(line))
  const figure = { name: 'f', unit: 'ms', better: 'lower', bar: 25 } as const
  report.take(figure, { value: 26, cpuSeconds: 1, wallSeconds: 2 })
  const line = { name: 'g.f', value: 26, unit: 'ms', better: 'lower', bar: 25, ok: false }
  assert.deepEqual(lines, [{ ...line, cpu_s: 1, wall_s: 2 }])
})
