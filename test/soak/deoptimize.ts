/**
 * Meets the V8 abort that `src/crdt/automerge.ts` guards against at once: optimised code with an
 * inlined call into wasm that returns a JavaScript value is thrown away while the call runs. V8
 * of Node 20 and 22 does not know how to go on (`Fatal error: unreachable code`). Run with
 *
 *   node --allow-natives-syntax --import ./scripts/typescript.mjs test/soak/deoptimize.ts
 *
 * or with `--without-flag`.
 */
import v8 from 'node:v8'
import { createDocument, type AutomergeDocument } from '../../src/crdt/automerge.ts'

if (process.argv.includes('--without-flag')) v8.setFlagsFromString('--turbo-inline-js-wasm-calls')

/** V8's own functions; their names are no JavaScript without `--allow-natives-syntax`. */
const prepare = new Function('f', '%PrepareFunctionForOptimization(f)')
const optimize = new Function('f', '%OptimizeFunctionOnNextCall(f)')
const deoptimize = new Function('f', '%DeoptimizeFunction(f)')

const document = createDocument('ab'.repeat(16))
document.put('/', 'key', Buffer.from('value'), 'bytes')
document.commit(null, 0)
const { getHeads } = Object.getPrototypeOf(document) as AutomergeDocument
const push = Array.prototype.push
let isArmed = false

/** Automerge collects what it returns with `push`: the wasm call is running then. */
Array.prototype.push = function (this: unknown[], ...values: unknown[]): number {
  if (isArmed) {
    isArmed = false
    deoptimize(getHeads)
  }
  return push.apply(this, values)
}

prepare(getHeads)
for (let count = 0; count < 1000; count++) document.getHeads()
optimize(getHeads)
document.getHeads()
isArmed = true
const heads = document.getHeads()
if (isArmed || heads.length !== 1) {
  console.log('not met:', isArmed, heads)
  process.exitCode = 1
} else {
  console.log(`deoptimised inside a call on Node ${process.version}: no abort`)
}
