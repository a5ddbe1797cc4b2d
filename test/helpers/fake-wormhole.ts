/** The whole program with a fake home: what tests start as a child process. */
import { runProcess } from '../../src/cli/process.ts'
import { openFakeHome } from './fake-home.ts'

await runProcess(async () => openFakeHome)
