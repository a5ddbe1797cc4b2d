// Lets a worker thread or a child process run TypeScript on every Node version: the loader
// must be imported by JavaScript. The module is named by `workerData.module` or the first argument;
// without either it is the notification thread, which is given its own `workerData` by the code
// under test.
import { workerData, isMainThread } from 'node:worker_threads'
import '../../../scripts/typescript.mjs'

const notifyWorker = new URL('../../../src/vfs/fuse/notify-worker.ts', import.meta.url).href
await import((isMainThread ? process.argv[2] : workerData?.module) ?? notifyWorker)
