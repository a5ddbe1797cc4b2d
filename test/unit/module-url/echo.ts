/** A worker for module-url.test.ts: answers with what a TypeScript import makes of the question. */
import { parentPort, workerData } from 'node:worker_threads'
import { nameToText } from '../../../src/types.ts'

const answer: string = nameToText(String(workerData))
parentPort?.postMessage({ answer, url: import.meta.url })
